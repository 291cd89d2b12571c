-- A folder of CSV files, watched; what comes in is written in four formats. A stream of files needs its columns.
-- Run with --checkpoint DIR, so that a restart goes on where this run stopped:
--   lotic run csv_to_csv.sql --checkpoint checkpoints
CREATE UNBOUNDED EXTERNAL TABLE nomes (nome STRING, idade INT)
STORED AS csv LOCATION 'nomes';

CREATE EXTERNAL TABLE to_csv (nome STRING, idade INT)
STORED AS csv LOCATION 'out/csv';

CREATE EXTERNAL TABLE to_json (nome STRING, idade INT)
STORED AS json LOCATION 'out/json';

CREATE EXTERNAL TABLE to_parquet (nome STRING, idade INT)
STORED AS parquet LOCATION 'out/parquet';

CREATE EXTERNAL TABLE to_orc (nome STRING, idade INT)
STORED AS orc LOCATION 'out/orc';

INSERT INTO to_csv SELECT nome, idade FROM nomes;
INSERT INTO to_json SELECT nome, idade FROM nomes;
INSERT INTO to_parquet SELECT nome, idade FROM nomes;
INSERT INTO to_orc SELECT nome, idade FROM nomes;
