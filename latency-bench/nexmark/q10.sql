-- NEXMark q10, log to files: every bid with the day and the minute that its file is put under. With a sink of
-- files: write_stream().partition_by(["day", "minute"]).
-- Source: Apache Beam's additions, as in the set of Apache Flink.
SELECT auction, bidder, price, date_time, extra,
       to_char(date_time, '%Y-%m-%d') AS day, to_char(date_time, '%H:%M') AS minute
FROM bid
