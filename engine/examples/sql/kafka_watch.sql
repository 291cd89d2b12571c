-- A topic from its beginning and on, as its records come.
CREATE UNBOUNDED EXTERNAL TABLE records
STORED AS kafka
OPTIONS ('kafka.bootstrap.servers' 'localhost:9092', 'subscribe' 'nomes', 'startingOffsets' 'earliest');

SELECT CAST(key AS STRING) AS nome, CAST(value AS STRING) AS idade, partition, "offset"
FROM records;
