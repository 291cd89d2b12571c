-- NEXMark q5, hot items, as the original has it: the counts of each window, and their maximum, joined. `q5.sql` gives
-- the same rows and reads the bids once instead of twice.
-- Source: Tucker, Tufte, Papadimos and Maier (2002), with the windows of the set of Apache Flink.
WITH counts AS (
    SELECT window, auction, count(*) AS bids
    FROM bid
    GROUP BY window(date_time, '10 seconds', '2 seconds'), auction
), most AS (
    SELECT window, max(bids) AS bids
    FROM counts
    GROUP BY window
)
SELECT counts.auction, counts.bids, counts.window.start AS window_start, counts.window.end AS window_end
FROM counts
JOIN most ON counts.window = most.window AND counts.bids = most.bids
