-- JSON from a topic as rows of a folder; what is no such JSON goes to a topic of dead letters, as it was and with
-- headers that say where it came from and what is wrong with it:
--   lotic run kafka_dead_letters.sql --checkpoint checkpoints
CREATE UNBOUNDED EXTERNAL TABLE records
STORED AS kafka
OPTIONS ('kafka.bootstrap.servers' 'localhost:9092', 'subscribe' 'nomes', 'startingOffsets' 'earliest');

-- TRY_CAST, since bytes that are no text would end the query with CAST.
CREATE VIEW decoded AS
SELECT *, from_json(TRY_CAST(value AS STRING), 'nome STRING, idade INT') AS pessoa
FROM records
WHERE value IS NOT NULL;

CREATE EXTERNAL TABLE pessoas (nome STRING, idade INT)
STORED AS csv LOCATION 'pessoas';

CREATE EXTERNAL TABLE dead
STORED AS kafka
OPTIONS ('kafka.bootstrap.servers' 'localhost:9092', 'topic' 'nomes-dead', 'includeHeaders' 'true');

INSERT INTO pessoas
SELECT pessoa['nome'], pessoa['idade'] FROM decoded WHERE pessoa IS NOT NULL;

INSERT INTO dead
SELECT key, value, make_array(
  named_struct('key', '__connect.errors.topic', 'value', CAST(topic AS BYTEA)),
  named_struct('key', '__connect.errors.partition', 'value', CAST(CAST(partition AS STRING) AS BYTEA)),
  named_struct('key', '__connect.errors.offset', 'value', CAST(CAST("offset" AS STRING) AS BYTEA)),
  named_struct('key', '__connect.errors.exception.message', 'value', CAST(
    CASE WHEN TRY_CAST(value AS STRING) IS NULL THEN 'value is not UTF-8 text'
         ELSE 'value is not JSON of nome STRING, idade INT' END AS BYTEA))
) AS headers
FROM decoded WHERE pessoa IS NULL;
