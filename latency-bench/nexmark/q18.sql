-- NEXMark q18, find last bid: the newest bid of each person for each auction.
-- The last row of each key; output mode update.
-- Source: the set of Apache Flink, there by row_number().
SELECT bidder, auction,
       last_value(price ORDER BY date_time) AS price,
       last_value(channel ORDER BY date_time) AS channel,
       last_value(url ORDER BY date_time) AS url,
       max(date_time) AS date_time,
       last_value(extra ORDER BY date_time) AS extra
FROM bid
GROUP BY bidder, auction
