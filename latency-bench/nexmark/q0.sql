-- NEXMark q0, pass-through: every bid as it is. What the engine itself costs.
-- Source: Apache Beam's additions to the queries of Tucker, Tufte, Papadimos and Maier (2002).
SELECT auction, bidder, price, channel, url, date_time, extra
FROM bid
