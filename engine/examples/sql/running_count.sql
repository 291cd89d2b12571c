-- The words that come in over a socket, counted. Beside it: nc -lk 9999
-- Each time a count changes, its new value is shown: update mode.
CREATE UNBOUNDED EXTERNAL TABLE lines (value STRING)
STORED AS socket
OPTIONS ('host' 'localhost', 'port' '9999');

CREATE EXTERNAL TABLE console (word STRING, count BIGINT)
STORED AS console;

INSERT INTO console
SELECT value AS word, count(*) AS count
FROM lines
GROUP BY value;
