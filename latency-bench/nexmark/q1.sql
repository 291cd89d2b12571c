-- NEXMark q1, currency conversion: the price of each bid, in dollar cents, as euro cents.
-- Source: Tucker, Tufte, Papadimos and Maier (2002).
SELECT auction, bidder, 0.908 * price AS price, date_time, extra
FROM bid
