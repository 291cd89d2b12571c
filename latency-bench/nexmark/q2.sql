-- NEXMark q2, selection: the bids for some of the auctions.
-- Source: Tucker, Tufte, Papadimos and Maier (2002), with the condition of the set of Apache Flink.
SELECT auction, price, date_time
FROM bid
WHERE auction % 123 = 0
