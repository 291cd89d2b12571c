-- NEXMark q21, add channel id: the bids whose channel has a number, by name or in the URL.
-- Source: the set of Apache Flink.
SELECT auction, bidder, price, channel,
       CASE lower(channel)
            WHEN 'apple' THEN '0'
            WHEN 'google' THEN '1'
            WHEN 'facebook' THEN '2'
            WHEN 'baidu' THEN '3'
            ELSE regexp_match(url, '(&|^)channel_id=([^&]*)')[2]
       END AS channel_id,
       date_time
FROM bid
WHERE lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
   OR regexp_match(url, '(&|^)channel_id=([^&]*)')[2] IS NOT NULL
