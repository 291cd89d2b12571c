-- NEXMark q8, monitor new users: who registered and opened an auction within the same 10 s?
-- A join of two windowed streams in the same window.
-- Source: Tucker, Tufte, Papadimos and Maier (2002), with the window of the set of Apache Flink.
WITH people AS (
    SELECT window, id, name
    FROM person
    GROUP BY window(date_time, '10 seconds'), id, name
), sellers AS (
    SELECT window, seller
    FROM auction
    GROUP BY window(date_time, '10 seconds'), seller
)
SELECT people.id, people.name, people.window.start AS window_start, people.window.end AS window_end
FROM people
JOIN sellers ON people.id = sellers.seller AND people.window = sellers.window
