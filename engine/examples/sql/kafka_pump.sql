-- A folder of CSV files to a topic, also files that come later; each name is there once, whatever is killed:
--   lotic run kafka_pump.sql --checkpoint checkpoints
CREATE UNBOUNDED EXTERNAL TABLE nomes (nome STRING, idade INT)
STORED AS csv LOCATION 'nomes';

CREATE EXTERNAL TABLE topic (key STRING, value STRING)
STORED AS kafka
OPTIONS ('kafka.bootstrap.servers' 'localhost:9092', 'topic' 'nomes', 'deliveryGuarantee' 'exactly-once');

INSERT INTO topic SELECT nome, CAST(idade AS STRING) FROM nomes;
