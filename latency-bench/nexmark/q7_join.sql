-- NEXMark q7, highest bid, as the original has it: the bids joined with the highest price of their window; all of
-- them if two are equal. `q7.sql` reads the bids once instead of twice.
-- Source: Tucker, Tufte, Papadimos and Maier (2002), with the window of the set of Apache Flink.
WITH bids AS (
    SELECT window(date_time, '10 seconds') AS window, auction, bidder, price, date_time
    FROM bid
), highest AS (
    SELECT window, max(price) AS price
    FROM bids
    GROUP BY window
)
SELECT bids.auction, bids.bidder, bids.price, bids.window.start AS window_start, bids.window.end AS window_end
FROM bids
JOIN highest ON bids.window = highest.window AND bids.price = highest.price
