-- NEXMark q20, expand bid with auction: the bids for auctions of category 10, with their auctions.
-- An unbounded join of two streams: both sides are kept for ever. `date_time` is that of the later event.
-- Source: the set of Apache Flink.
SELECT bid.auction, bid.bidder, bid.price, bid.channel, bid.url, bid.extra,
       auction.item_name, auction.initial_bid, auction.reserve, auction.expires, auction.seller,
       greatest(auction.date_time, bid.date_time) AS date_time
FROM bid
JOIN auction ON bid.auction = auction.id
WHERE auction.category = 10
