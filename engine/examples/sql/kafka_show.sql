-- What a topic holds now, as text: a batch.
CREATE EXTERNAL TABLE records
STORED AS kafka
OPTIONS ('kafka.bootstrap.servers' 'localhost:9092', 'subscribe' 'nomes');

SELECT CAST(key AS STRING) AS nome, CAST(value AS STRING) AS idade, partition, "offset"
FROM records;
