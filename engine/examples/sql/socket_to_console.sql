-- Lines from a socket to the console, as they come. Beside it: nc -lk 9999
CREATE UNBOUNDED EXTERNAL TABLE lines (value STRING)
STORED AS socket
OPTIONS ('host' 'localhost', 'port' '9999');

CREATE EXTERNAL TABLE console (value STRING)
STORED AS console;

INSERT INTO console SELECT value FROM lines;
