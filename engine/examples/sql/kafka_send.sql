-- A folder of CSV files to a topic, once: a batch.
CREATE EXTERNAL TABLE nomes (nome STRING, idade INT)
STORED AS csv LOCATION 'nomes';

CREATE EXTERNAL TABLE topic (key STRING, value STRING)
STORED AS kafka
OPTIONS ('kafka.bootstrap.servers' 'localhost:9092', 'topic' 'nomes');

INSERT INTO topic SELECT nome, CAST(idade AS STRING) FROM nomes;
