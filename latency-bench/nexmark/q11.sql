-- NEXMark q11, user sessions: how many bids did each person make in each session, which ends 10 s after the last?
-- Source: Apache Beam's additions, as in the set of Apache Flink.
SELECT bidder, count(*) AS bids,
       session_window.start AS window_start, session_window.end AS window_end
FROM bid
GROUP BY session_window(date_time, '10 seconds'), bidder
