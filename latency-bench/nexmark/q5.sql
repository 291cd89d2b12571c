-- NEXMark q5, hot items: in the last 10 s, each 2 s, the auctions with the most bids.
-- Sliding windows, and of each window its maximum and the auctions that have it. The original joins the counts
-- with their maximum; this reads them once.
-- Source: Tucker, Tufte, Papadimos and Maier (2002), with the windows of the set of Apache Flink.
WITH counts AS (
    SELECT window, auction, count(*) AS bids
    FROM bid
    GROUP BY window(date_time, '10 seconds', '2 seconds'), auction
), windows AS (
    SELECT window, max(bids) AS most, array_agg(named_struct('auction', auction, 'bids', bids)) AS auctions
    FROM counts
    GROUP BY window
), each AS (
    SELECT window, most, unnest(auctions) AS item
    FROM windows
)
SELECT item['auction'] AS auction, item['bids'] AS bids, window.start AS window_start, window.end AS window_end
FROM each
WHERE item['bids'] = most
