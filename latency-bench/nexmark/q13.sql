-- NEXMark q13, bounded side input: every bid with what a bounded table says about its auction.
-- Source: Apache Beam's additions, as in the set of Apache Flink.
SELECT bid.auction, bid.bidder, bid.price, bid.date_time, side_input.value
FROM bid
JOIN side_input ON bid.auction % 10000 = side_input.key
