-- NEXMark q14, calculation: dearer bids in euro cents, the part of the day they were made in, and how often the
-- letter c is in their text.
-- Source: the set of Apache Flink.
SELECT auction, bidder, 0.908 * price AS price,
       CASE WHEN date_part('hour', date_time) BETWEEN 8 AND 18 THEN 'day'
            WHEN date_part('hour', date_time) <= 6 OR date_part('hour', date_time) >= 20 THEN 'night'
            ELSE 'other'
       END AS bid_time,
       date_time, extra,
       length(extra) - length(replace(extra, 'c', '')) AS c_counts
FROM bid
WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000
