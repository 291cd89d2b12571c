-- Rows by event time: each second and digit once, when the watermark has passed the second.
CREATE UNBOUNDED EXTERNAL TABLE numbers
STORED AS rate
OPTIONS (
    'rowsPerSecond' '1000', 'limit' '2000',
    'watermark.column' 'timestamp', 'watermark.delay' '100 milliseconds'
);

CREATE EXTERNAL TABLE console (start TIMESTAMP, digit BIGINT, count BIGINT)
STORED AS console;

INSERT INTO console
SELECT window.start, value % 10 AS digit, count(*) AS count
FROM numbers
GROUP BY window(timestamp, '1 second'), value % 10;
