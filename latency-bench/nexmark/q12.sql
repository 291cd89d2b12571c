-- NEXMark q12, windows of processing time: how many bids of each person come in within 10 s by the clock?
-- Such windows have no watermark: output mode update. `date_time` is that of the last bid counted.
-- Source: Apache Beam's additions, as in the set of Apache Flink.
SELECT bidder, count(*) AS bids, window.start AS window_start, window.end AS window_end,
       max(date_time) AS date_time
FROM (SELECT bidder, date_time, now() AS processed FROM bid)
GROUP BY window(processed, '10 seconds'), bidder
