package review_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/review"
)

const base = `name: x
description: Read and write one prefix.
provider: aws
role: s3
params:
  bucket: {type: s3_bucket}
  prefix: {type: s3_prefix}
statements:
  - actions: [s3:GetObject, s3:PutObject]
    resources: ["arn:aws:s3:::{bucket}/{prefix}*"]
  - actions: [s3:ListBucket]
    resources: ["arn:aws:s3:::{bucket}"]
    conditions:
      StringLike: {"s3:prefix": ["{prefix}*"]}
ttl: {default: 15m, max: 1h}
`

const kv = `name: x
description: Read a team's secrets.
provider: vault
role: vault
params:
  team: {type: identifier}
paths:
  - path: secret/data/{team}/*
    capabilities: [read]
ttl: {default: 15m, max: 1h}
`

// load loads one catalog of the given files' texts.
func load(t testing.TB, texts ...string) *scopes.Catalog {
	t.Helper()
	dir := t.TempDir()
	for i, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := scopes.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// edit replaces pairs of texts, each of which has to be there.
func edit(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the scope has no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func words(changes []review.Change) string {
	var out []string
	for _, c := range changes {
		line := c.Tier.String() + " " + string(c.Kind) + ": " + c.What
		if c.Known {
			line += " | " + c.Witness
		} else {
			line += " ? " + c.Why
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestDiff(t *testing.T) {
	allowed := edit(t, base, "bucket: {type: s3_bucket}", "bucket: {type: s3_bucket, allowed: [logs, data]}")
	enum := edit(t, kv, "{type: identifier}", "{type: enum, allowed: [web, mail]}")
	pattern := edit(t, kv, "{type: identifier}", "{type: pattern, pattern: '[a-z]{3,8}'}")
	networks := base + "bindings: {source_cidrs: [203.0.113.0/24]}\n"
	arn := `name: x
description: Read tables.
provider: aws
role: s3
params:
  table: {type: arn}
statements:
  - actions: [dynamodb:GetItem]
    resources: ["{table}"]
ttl: {default: 15m, max: 1h}
`
	for _, k := range []struct {
		name, before, after string
		gained, lost        string // a part of the words; empty for none
		tier                scopes.Tier
	}{
		{"an action", base, edit(t, base, "s3:PutObject", "s3:PutObject, s3:DeleteObject"),
			"destructive permission: s3:DeleteObject on arn:aws:s3:::example-bucket/example-prefix/* | s3:DeleteObject on arn:aws:s3:::example-bucket/example-prefix/", "", scopes.TierDestructive},
		{"a hole that became a wildcard", base, edit(t, base, "{bucket}/{prefix}*", "*/{prefix}*"), "write permission: s3:GetObject, s3:PutObject on arn:aws:s3:::*/example-prefix/*", "", scopes.TierWrite},
		{"a literal beside the hole", base, edit(t, base, `["arn:aws:s3:::{bucket}/{prefix}*"]`, `["arn:aws:s3:::{bucket}/{prefix}*", "arn:aws:s3:::payroll/*"]`),
			"arn:aws:s3:::payroll/*", "", scopes.TierWrite},
		{"a literal that is one of the allowed values", allowed, edit(t, allowed, `["arn:aws:s3:::{bucket}/{prefix}*"]`, `["arn:aws:s3:::{bucket}/{prefix}*", "arn:aws:s3:::logs/{prefix}*"]`),
			"arn:aws:s3:::logs/example-prefix/*", "", scopes.TierWrite},
		{"a condition that is gone", base, edit(t, base, "    conditions:\n      StringLike: {\"s3:prefix\": [\"{prefix}*\"]}\n", ""), "read permission: s3:ListBucket on arn:aws:s3:::example-bucket", "", scopes.TierRead},
		{"another spelling of the same", base, edit(t, base, "  - actions: [s3:GetObject, s3:PutObject]\n", "  - actions: [s3:PutObject]\n    resources: [\"arn:aws:s3:::{bucket}/{prefix}*\"]\n  - actions: [s3:GetObject]\n"), "", "", 0},
		{"an allowed value more", allowed, edit(t, allowed, "[logs, data]", "[logs, data, payroll]"), "write parameter: parameter bucket takes payroll | bucket=payroll", "", scopes.TierWrite},
		{"an allowed value less", allowed, edit(t, allowed, "[logs, data]", "[logs]"), "", "write parameter: parameter bucket takes data | bucket=data", 0},
		{"allowed values gone", allowed, base, "parameter bucket takes any s3_bucket (was: only data, logs) | bucket=example-bucket", "", scopes.TierWrite},
		{"no value in common", allowed, edit(t, allowed, "[logs, data]", "[payroll]"), "bucket=payroll", "arn:aws:s3:::data/", scopes.TierWrite},
		{"a wider pattern", pattern, edit(t, pattern, "{3,8}", "{3,80}"), "parameter team takes any match of [a-z]{3,80}", "", scopes.TierRead},
		{"a narrower pattern", edit(t, pattern, "{3,8}", "{3,80}"), pattern, "", "parameter team takes any match of [a-z]{3,80} (now: any match of [a-z]{3,8})", 0},
		{"an enum that became free", enum, kv, "parameter team takes any identifier (was: only mail, web) | team=example-team", "", scopes.TierRead},
		{"several at once", base, edit(t, base, "type: s3_prefix", "type: s3_prefix, list: true"), "parameter prefix takes several values at once", "", scopes.TierWrite},
		{"a longer life", base, edit(t, base, "max: 1h", "max: 2h"), "write ttl: lives up to 2h0m0s, not 1h0m0s | --ttl 2h0m0s", "", scopes.TierWrite},
		{"a shorter life", base, edit(t, base, "max: 1h", "max: 30m"), "", "write ttl: lives up to 1h0m0s", 0},
		{"networks gone", networks, base, "write binding: works from any network (was: only 203.0.113.0/24)", "", scopes.TierWrite},
		{"a wider network", networks, edit(t, networks, "/24", "/24, 198.51.100.0/24"), "works from 198.51.100.0/24 (was: only 203.0.113.0/24) | aws:SourceIp=198.51.100.0", "", scopes.TierWrite},
		{"a narrower network", networks, edit(t, networks, "/24", "/28"), "", "works from 203.0.113.0/24 (now: only 203.0.113.0/28)", 0},
		{"Regions gone", base + "bindings: {regions: [eu-west-1]}\n", base, "write binding: works in any Region (was: only eu-west-1)", "", scopes.TierWrite},
		{"another Region", base + "bindings: {regions: [eu-west-1]}\n", base + "bindings: {regions: [eu-west-2]}\n", "works in eu-west-2 (was: only eu-west-1) | aws:RequestedRegion=eu-west-2", "works in eu-west-1 (now: only eu-west-2)", scopes.TierWrite},
		{"a Region less", base, base + "bindings: {regions: [eu-west-1]}\n", "", "works in any Region (now: only eu-west-1)", 0},
		{"another role", base, edit(t, base, "role: s3", "role: production"), "write role: comes from role production, not s3 ? ", "", scopes.TierWrite},
		{"a renamed parameter", base, edit(t, base, "bucket: {", "store: {", "{bucket}", "{store}"), "", "", 0},
		{"a literal that became a hole", edit(t, base, "  bucket: {type: s3_bucket}\n", "", "{bucket}", "logs"), base, "arn:aws:s3:::example-bucket/", "arn:aws:s3:::logs/", scopes.TierWrite},
		{"a hole that became one of its values", enum, edit(t, kv, "params:\n  team: {type: identifier}\n", "", "{team}", "web"), "", "secret/data/mail/*", 0},
		{"a capability", kv, edit(t, kv, "[read]", "[read, delete]"), "destructive permission: delete on secret/data/example-team/* | delete secret/data/example-team/", "", scopes.TierDestructive},
		{"a Vault wildcard", kv, edit(t, kv, "secret/data/{team}/*", "secret/data/+/{team}/*"), "secret/data/+/example-team/*", "secret/data/example-team/*", scopes.TierRead},
		{"another provider", base, kv, "secret/data/example-team/*", "s3:GetObject", scopes.TierRead},
		{"an ARN of another kind", arn, edit(t, arn, "dynamodb:GetItem", "sqs:ReceiveMessage"), "sqs:ReceiveMessage on arn:aws:sqs:", "dynamodb:GetItem on arn:aws:dynamodb:", scopes.TierRead},
		{"an ARN", arn, edit(t, arn, "dynamodb:GetItem", "dynamodb:GetItem, dynamodb:DeleteTable"), "destructive permission: dynamodb:DeleteTable", "", scopes.TierDestructive},
	} {
		t.Run(k.name, func(t *testing.T) {
			d := review.Diff(load(t, k.before), load(t, k.after))
			if len(d.Scopes) != 1 || d.Same != 0 {
				t.Fatalf("%d scopes changed", len(d.Scopes))
			}
			s := d.Scopes[0]
			for _, side := range []struct {
				word, got, want string
			}{{"gained", words(s.Gained), k.gained}, {"lost", words(s.Lost), k.lost}} {
				if (side.want == "") != (side.got == "") || !strings.Contains(side.got, side.want) {
					t.Errorf("%s:\n%s\nwant %q", side.word, side.got, side.want)
				}
			}
			if d.Tier() != k.tier {
				t.Errorf("tier %s, want %s", d.Tier(), k.tier)
			}
		})
	}
}

func TestDiffOfWholeScopes(t *testing.T) {
	other := edit(t, kv, "name: x", "name: y")
	d := review.Diff(load(t, base), load(t, base, other))
	if d.Same != 1 || len(d.Scopes) != 1 || d.Scopes[0].Status != review.Added || !strings.Contains(words(d.Scopes[0].Gained), "read on secret/data/example-team/*") {
		t.Errorf("added: %+v", d)
	}
	d = review.Diff(load(t, base, other), load(t, base))
	if d.Gains() != 0 || d.Tier() != scopes.TierUnspecified || d.Scopes[0].Status != review.Removed || d.Scopes[0].Lost[0].Given != "team=example-team" {
		t.Errorf("removed: %+v", d)
	}
}
