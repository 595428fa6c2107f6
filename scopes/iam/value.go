package iam

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"time"
)

// decimal is a number with an optional fraction, exact at any size. Numbers with exponents are not read: AWS says
// "integer or decimal".
type decimal struct {
	negative   bool
	whole      string // no leading zeros
	fractional string // no trailing zeros
}

func parseDecimal(s string) (decimal, bool) {
	var d decimal
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.negative, s = s[0] == '-', s[1:]
	}
	var dot bool
	d.whole, d.fractional, dot = strings.Cut(s, ".")
	if !digits(d.whole) || !digits(d.fractional) || d.whole == "" || (dot && d.fractional == "") {
		return decimal{}, false
	}
	d.whole, d.fractional = strings.TrimLeft(d.whole, "0"), strings.TrimRight(d.fractional, "0")
	if d.whole == "" && d.fractional == "" {
		d.negative = false
	}
	return d, true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// compare returns -1, 0 or 1.
func (d decimal) compare(e decimal) int {
	if d.negative != e.negative {
		if d.negative {
			return -1
		}
		return 1
	}
	c := len(d.whole) - len(e.whole)
	if c == 0 {
		c = strings.Compare(d.whole, e.whole)
	}
	if c == 0 {
		c = strings.Compare(d.fractional, e.fractional)
	}
	if d.negative {
		c = -c
	}
	return min(max(c, -1), 1)
}

// dateLayouts are the W3C's profile of ISO 8601 (https://www.w3.org/TR/NOTE-datetime), without the bare year.
var dateLayouts = [...]string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01"} // read-only

// maxEpochDigits keeps seconds within what any calendar needs, some 30,000 years.
const maxEpochDigits = 12

// parseDate reads a date of IAM: the W3C's ISO 8601, or seconds since 1970, with or without a fraction.
//
// NOTE: AWS allows both forms and so leaves "2026" open; digits alone are seconds here.
func parseDate(s string) (time.Time, bool) {
	if len(s) > 4 && s[4] == '-' {
		for _, layout := range dateLayouts {
			if t, err := time.Parse(layout, s); err == nil {
				return t, true
			}
		}
		return time.Time{}, false
	}
	d, ok := parseDecimal(s)
	if !ok || len(d.whole) > maxEpochDigits {
		return time.Time{}, false
	}
	var seconds, nanos int64
	for i := range len(d.whole) {
		seconds = seconds*10 + int64(d.whole[i]-'0')
	}
	for i := range 9 {
		nanos *= 10
		if i < len(d.fractional) {
			nanos += int64(d.fractional[i] - '0')
		}
	}
	if d.negative {
		seconds, nanos = -seconds, -nanos
	}
	return time.Unix(seconds, nanos), true
}

// parseNetwork reads a CIDR block, or one address, which is a block of its own.
func parseNetwork(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, ok := parseAddress(s)
	if !ok {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// parseAddress reads one address; an IPv4 one in IPv6 notation is IPv4.
func parseAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

func parseBinary(s string) (string, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err == nil
}
