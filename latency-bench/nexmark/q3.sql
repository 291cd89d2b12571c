-- NEXMark q3, local item suggestion: who in three states sells in category 10?
-- An unbounded join of two streams: both sides are kept for ever. `date_time` is that of the later event.
-- Source: Tucker, Tufte, Papadimos and Maier (2002).
SELECT person.name, person.city, person.state, auction.id,
       greatest(auction.date_time, person.date_time) AS date_time
FROM auction
JOIN person ON auction.seller = person.id
WHERE auction.category = 10 AND person.state IN ('or', 'id', 'ca')
