package iam_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

// values are small sets of values of one kind, closely spaced, and the conditions that cut them up.
type values struct {
	key       string
	single    bool // lists of at most one
	operators []string
	constants []string // in policies
	texts     []string // in requests
}

func kinds() map[string]values {
	words := []string{""}
	level := []string{""}
	for range 3 {
		var next []string
		for _, s := range level {
			for _, c := range "abA" {
				next = append(next, s+string(c))
			}
		}
		words, level = append(words, next...), next
	}
	numbers, dates, hosts := []string{"x"}, []string{"x"}, []string{"x", "9.255.255.255", "::ffff:10.0.0.3"}
	for i := -1; i <= 10; i++ {
		numbers = append(numbers, fmt.Sprint(float64(i)/2))
		dates = append(dates, time.Unix(int64(i)*43200, 0).UTC().Format(time.RFC3339))
	}
	networks := []string{"0.0.0.0/0", "10.0.0.0/28"}
	for i := range 18 {
		hosts = append(hosts, fmt.Sprintf("10.0.0.%d", i))
	}
	for _, bits := range []int{29, 30, 31, 32} {
		for i := 0; i < 16; i += 1 << (32 - bits) {
			networks = append(networks, fmt.Sprintf("10.0.0.%d/%d", i, bits))
		}
	}
	hosts6, networks6 := []string{"x", "10.0.0.1", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"}, []string{"::/0", "2001:db8::/125"}
	for i := range 10 {
		hosts6 = append(hosts6, fmt.Sprintf("2001:db8::%x", i))
	}
	for i := range 8 {
		networks6 = append(networks6, fmt.Sprintf("2001:db8::%x", i), fmt.Sprintf("2001:db8::%x/127", i&^1))
	}
	arns := []string{"a", "arn:aws:s3:::"}
	for _, service := range []string{"s3", "sqs"} {
		for _, account := range []string{"", "1", "12"} {
			for _, name := range []string{"a", "b", "a:b", "ab"} {
				arns = append(arns, "arn:aws:"+service+":eu:"+account+":"+name, "arn:aws:"+service+"::"+account+":"+name)
			}
		}
	}
	return map[string]values{
		"text": {"x:k", true, []string{"StringLike", "StringNotLike", "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"},
			[]string{"a", "b", "A", "ab", "a*", "*a", "*b*", "?", "??", "a?", "*", "aa*", "a*b", "", "???*"}, words},
		"number": {"s3:max-keys", true, []string{"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
			[]string{"0", "1", "2", "3", "4.0", "+5"}, numbers},
		"date": {"aws:CurrentTime", true, []string{"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
			[]string{"1970-01-01", "86400", "1970-01-03T00:00:00Z", "1970-01-04T01:00:00+01:00", "1970-01-05"}, dates},
		"address": {"aws:SourceIp", true, []string{"IpAddress", "NotIpAddress"}, networks, hosts},
		"IPv6":    {"aws:VpcSourceIp", true, []string{"IpAddress", "NotIpAddress"}, networks6, hosts6},
		"arn": {"lambda:SourceFunctionArn", true, []string{"ArnLike", "ArnNotLike", "ArnEquals", "ArnNotEquals"},
			[]string{"arn:aws:s3:eu:1:a", "arn:aws:*:eu:*:a*", "arn:aws:s3::?:*", "arn:*:sqs:*:1*:*b", "*:*:*:*:*:*", "arn:aws:s3:eu::a:b"}, arns},
		"texts": {"aws:TagKeys", false, []string{"StringLike", "StringNotLike", "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase"},
			[]string{"a", "b", "A", "ab", "a*", "*b*", "?", "*", ""}, words},
		"arns": {"logs:LogGeneratingResourceArns", false, []string{"ArnLike", "ArnNotLike"},
			[]string{"arn:aws:s3:eu:1:a", "arn:aws:*:eu:*:a*", "arn:*:sqs:*:1*:*b", "arn:aws:s3:::*"}, arns},
		"bool":   {"aws:SecureTransport", true, []string{"Bool"}, []string{"true", "false", "TRUE"}, []string{"true", "True", "false", "x", ""}},
		"binary": {"x:b", true, []string{"BinaryEquals"}, []string{"YQ==", "Yg==", ""}, []string{"YQ==", "Yg==", "Yw==", "", "!"}},
	}
}

// states returns the contexts of a kind: no key, an empty one, each value, and some lists.
func (v values) states(r *rand.Rand) []map[string][]string {
	out := []map[string][]string{{}}
	if !v.single {
		out = append(out, map[string][]string{v.key: {}})
	}
	for _, t := range v.texts {
		out = append(out, map[string][]string{v.key: {t}})
	}
	for range 300 {
		if v.single {
			break
		}
		l := []string{one(r, v.texts...), one(r, v.texts...)}
		if r.IntN(2) == 0 {
			l = append(l, one(r, v.texts...))
		}
		out = append(out, map[string][]string{v.key: l})
	}
	return out
}

// condition makes one condition; most have one value, as those cut most.
func (v values) condition(r *rand.Rand) map[string]map[string][]string {
	if r.IntN(10) == 0 {
		return map[string]map[string][]string{"Null": {v.key: {one(r, "true", "false")}}}
	}
	op := one(r, v.operators...)
	if r.IntN(3) == 0 {
		op = one(r, "ForAllValues:", "ForAnyValue:") + op
	}
	if r.IntN(4) == 0 {
		op += "IfExists"
	}
	list := []string{one(r, v.constants...)}
	for r.IntN(3) == 0 {
		list = append(list, one(r, v.constants...))
	}
	return map[string]map[string][]string{op: {v.key: list}}
}

// The conditions of each kind against all their values: a Yes must survive every one.
func TestCoversValuesByBruteForce(t *testing.T) {
	n := 4000
	if testing.Short() || raceEnabled {
		n = 300
	}
	for name, v := range kinds() {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(13, uint64(len(name))))
			contexts := v.states(r)
			pool := make([]part, 60)
			for i := range pool {
				c := v.condition(r)
				pool[i] = (&world{}).match(t, func(s *iam.Statement) { s.Condition = c }, len(contexts),
					func(i int) iam.Request {
						return iam.Request{Action: "s:a", Resource: "arn:aws:s:::a", Context: contexts[i]}
					})
			}
			var counts [3]int
			for range n {
				a, b := chooseConditions(r, len(pool), 1+r.IntN(4)), chooseConditions(r, len(pool), 1+r.IntN(2))
				b[0].deny = false
				got, err := iam.CoversPlain(iam.DialectAWS, conditioned(pool, a), conditioned(pool, b))
				if err != nil {
					t.Fatal(err)
				}
				counts[got.Answer]++
				inA, inB := allowedBy(pool, a, len(contexts)), allowedBy(pool, b, len(contexts))
				for i := range inB {
					if left := inB[i] &^ inA[i]; left != 0 && got.Answer == iam.Yes || (got.Answer == iam.Unknown && !strings.Contains(got.Why, leftOpen)) {
						t.Fatalf("%+v, but by brute force %b of word %d\na %s\nb %s", got, left, i, show(conditioned(pool, a)), show(conditioned(pool, b)))
					}
				}
			}
			t.Logf("%d no, %d yes, %d unknown", counts[iam.No], counts[iam.Yes], counts[iam.Unknown])
			if counts[iam.Yes] < n/20 || counts[iam.No] < n/20 {
				t.Errorf("one-sided: %v", counts)
			}
		})
	}
}

// conditions are a statement by the numbers of its conditions in the pool.
type conditions struct {
	deny bool
	list []int
}

func chooseConditions(r *rand.Rand, pool, n int) []conditions {
	out := make([]conditions, n)
	for i := range out {
		out[i] = conditions{r.IntN(4) == 0, []int{r.IntN(pool)}}
		if r.IntN(3) == 0 {
			out[i].list = append(out[i].list, r.IntN(pool))
		}
	}
	return out
}

func conditioned(pool []part, cs []conditions) []iam.Policy {
	p := iam.Policy{}
	for _, c := range cs {
		s := iam.Statement{Effect: iam.Allow, Action: []string{"*"}, Resource: []string{"*"}, Condition: map[string]map[string][]string{}}
		if c.deny {
			s.Effect = iam.Deny
		}
		for _, i := range c.list {
			var one iam.Statement
			pool[i].set(&one)
			for op, keys := range one.Condition {
				if s.Condition[op] == nil {
					s.Condition[op] = keys
				}
			}
		}
		p.Statements = append(p.Statements, s)
	}
	return []iam.Policy{p}
}

func allowedBy(pool []part, cs []conditions, n int) set {
	out := make(set, (n+63)/64)
	for _, deny := range []bool{false, true} {
		for _, c := range cs {
			if c.deny != deny {
				continue
			}
			seen := map[string]bool{}
			for w := range out {
				all := ^uint64(0)
				clear(seen)
				for _, i := range c.list {
					var one iam.Statement
					pool[i].set(&one)
					op := ""
					for op = range one.Condition {
					}
					if seen[op] {
						continue // conditioned has the first of an operator alone
					}
					seen[op] = true
					if deny {
						all &= pool[i].deny[w]
					} else {
						all &= pool[i].allow[w]
					}
				}
				if deny {
					out[w] &^= all
				} else {
					out[w] |= all
				}
			}
		}
	}
	return out
}
