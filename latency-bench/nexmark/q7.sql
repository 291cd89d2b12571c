-- NEXMark q7, highest bid: the bid with the highest price of each 10 s, the earlier one of two.
-- The best row of a tumbling window. The original joins the bids with the highest price; this reads them once.
-- Source: Tucker, Tufte, Papadimos and Maier (2002), with the window of the set of Apache Flink.
SELECT first_value(auction ORDER BY price DESC, date_time) AS auction,
       first_value(bidder ORDER BY price DESC, date_time) AS bidder,
       max(price) AS price,
       window.start AS window_start, window.end AS window_end
FROM bid
GROUP BY window(date_time, '10 seconds')
