package vault

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// realEnd is when a secret that nothing was seen to kill stops working by itself: when its data says so, or at its
// lease's end where that is later. Not ok is a secret whose data does not say it. A lease's end alone is a revocation by
// Vault, of which nobody has seen that it ends anything. Vault's AWS engine tells the life of an STS session in "ttl",
// Google's its token's in "expires_at_seconds" and "token_ttl", PKI in "expiration"; a JWT says it in "exp".
func realEnd(now time.Time, lease time.Duration, data map[string]any) (end time.Time, ok bool) {
	said, readable := saidEnd(now, data)
	if said.IsZero() || !readable {
		return time.Time{}, false
	}
	if end = now.Add(lease); said.After(end) {
		end = said
	}
	return end, true
}

// saidEnd is the latest end that data names; zero for none. Not readable is data that names one in words that are not known.
func saidEnd(now time.Time, data map[string]any) (end time.Time, readable bool) {
	readable = true
	for key, value := range data {
		said, known := time.Time{}, true
		switch v := value.(type) {
		case map[string]any:
			said, known = saidEnd(now, v)
		case string:
			said = jwtEnd(v)
		}
		switch key {
		case "ttl", "token_ttl":
			var life time.Duration
			if life, known = seconds(value); known {
				said = now.Add(life)
			}
		case "expiration", "expires_at_seconds", "expires_at":
			var at time.Duration
			if at, known = seconds(value); known {
				said = time.Unix(0, 0).Add(at)
			} else if text, isText := value.(string); isText {
				var err error
				said, err = time.Parse(time.RFC3339, text)
				known = err == nil
			}
		}
		if readable = readable && known; said.After(end) {
			end = said
		}
	}
	return end, readable
}

// maxSeconds is further away than any grant's end, and no overflow.
const maxSeconds = 200 * 365 * 24 * 3600

// seconds reads a number of seconds, or a duration such as "1h".
func seconds(v any) (time.Duration, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Float64()
		return time.Duration(min(n, maxSeconds)) * time.Second, err == nil && n > 0
	case string:
		d, err := time.ParseDuration(v)
		return d, err == nil && d > 0
	}
	return 0, false
}

// jwtEnd is the end that a JWT names; zero for any other text. Its signature is its target's matter.
func jwtEnd(text string) time.Time {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(raw, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(min(claims.Exp, maxSeconds)), 0)
}
