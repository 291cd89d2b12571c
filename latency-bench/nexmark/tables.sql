-- The tables of NEXMark, an auction house: people register, open auctions and bid.
-- The format `nexmark` is the benchmark's own. Events come in the order of their times; rows are waited for by 1 s.
CREATE UNBOUNDED EXTERNAL TABLE person
STORED AS nexmark
OPTIONS ('table' 'person', 'watermark.column' 'date_time', 'watermark.delay' '1 second');

CREATE UNBOUNDED EXTERNAL TABLE auction
STORED AS nexmark
OPTIONS ('table' 'auction', 'watermark.column' 'date_time', 'watermark.delay' '1 second');

CREATE UNBOUNDED EXTERNAL TABLE bid
STORED AS nexmark
OPTIONS ('table' 'bid', 'watermark.column' 'date_time', 'watermark.delay' '1 second');

-- The bounded side of q13.
CREATE VIEW side_input AS
SELECT value AS key, CAST(value AS STRING) AS value
FROM generate_series(0, 9999);
