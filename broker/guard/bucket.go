package guard

import "time"

// takeToken takes one token from the bucket under key, which refills one per interval up to
// burst. Without a token it changes nothing and returns how long until there is one. The bucket
// is kept as GCRA's theoretical arrival time: full when that is in the past, empty when it is
// burst-1 intervals or more ahead.
func takeToken(tx Tx, key string, interval time.Duration, burst int) (wait time.Duration, err error) {
	at, err := tx.Bucket(key)
	if err != nil {
		return 0, err
	}
	now, room := tx.Now(), time.Duration(burst-1)*interval
	if at.Before(now) {
		at = now
	}
	if at.After(now.Add(room + interval)) {
		// No bucket is emptier than empty: a clock was ahead and was put right. The
		// bucket gives its last token, which writes it down in the right time;
		// refused as it is, it would lock agents out for the length of the jump.
		at = now.Add(room)
	}
	if wait := at.Sub(now) - room; wait > 0 {
		return wait, nil
	}
	return 0, tx.PutBucket(key, at.Add(interval))
}
