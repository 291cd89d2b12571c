-- Two streams joined: each click with the impression of the same ad within a second of it, if there was one.
CREATE UNBOUNDED EXTERNAL TABLE impressions
STORED AS rate
OPTIONS (
    'rowsPerSecond' '1000', 'limit' '2000',
    'watermark.column' 'timestamp', 'watermark.delay' '100 milliseconds'
);

CREATE UNBOUNDED EXTERNAL TABLE clicks
STORED AS rate
OPTIONS (
    'rowsPerSecond' '1000', 'limit' '2000',
    'watermark.column' 'timestamp', 'watermark.delay' '100 milliseconds'
);

CREATE EXTERNAL TABLE console (ad BIGINT, shown TIMESTAMP)
STORED AS console;

INSERT INTO console
SELECT c.value AS ad, i.timestamp AS shown
FROM clicks c LEFT JOIN impressions i
ON c.value = i.value
AND c.timestamp BETWEEN i.timestamp - INTERVAL '1 second' AND i.timestamp + INTERVAL '1 second'
WHERE c.value % 100 = 0;
