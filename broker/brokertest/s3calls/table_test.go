package s3calls_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

var update = flag.Bool("update", false, "write testdata/s3calls and scopes/iam/s3calls.txt from what the servers do; read the diff")

// row is one call of the table: what was asked, and which actions on what let it through.
type row struct {
	Call   string     `json:"call"`
	Action string     `json:"aws"`             // what AWS checks it as
	Any    [][]string `json:"any,omitempty"`   // "s3:GetObject@object": it passes where one of these lists is allowed whole
	Never  bool       `json:"never,omitempty"` // the server denies it whatever is allowed
	Free   bool       `json:"free,omitempty"`  // the server denies it to nobody: it has no such call
}

// TestTable holds the table against each server, each row on its own: the call passes where what the row says is allowed
// and nothing else is, and not where all else is. With -update it finds out what the table has to say, which takes minutes.
func TestTable(t *testing.T) {
	for _, d := range slices.Sorted(maps.Keys(worlds)) {
		t.Run(string(d), func(t *testing.T) {
			w := worlds[d](t)
			w.fill(t)
			p := &prober{world: w, t: t, target: w.target(t)}
			if *update {
				names := p.actions()
				rows := p.table(names)
				if d == iam.DialectVersityGW { // it takes any name
					names = p.tried(rows)
				}
				write(t, tableFile(d), rows)
				rewrite(t, d, model(w, names, rows))
				return
			}
			rows := readTable(t, d)
			p.hold(rows)
			// The model that is part of the program says what the table says, of this version of the server.
			got := linesOf(t, d)
			names := iam.Dialect(d).Actions()
			if want := model(w, names, rows); strings.Join(got, "\n") != want {
				t.Errorf("scopes/iam/s3calls.txt is not what the table says; `make generate-s3calls`, and read the diff\n%s\nwant\n%s", strings.Join(got, "\n"), want)
			}
		})
	}
}

func tableFile(d iam.Dialect) string {
	return filepath.Join("..", "..", "..", "testdata", "s3calls", string(d)+".jsonl")
}

func write(t *testing.T, file string, rows []row) {
	t.Helper()
	var raw bytes.Buffer
	for _, r := range rows {
		line, err := json.Marshal(r)
		must(t, err)
		raw.Write(append(line, '\n'))
	}
	must(t, os.MkdirAll(filepath.Dir(file), 0o750))
	must(t, os.WriteFile(file, raw.Bytes(), 0o600))
}

func readTable(t *testing.T, d iam.Dialect) []row {
	t.Helper()
	text, err := os.ReadFile(tableFile(d))
	must(t, err)
	var rows []row
	for line := range strings.Lines(string(text)) {
		var r row
		must(t, json.Unmarshal([]byte(line), &r))
		rows = append(rows, r)
	}
	if len(rows) != len(calls) {
		t.Fatalf("%s has %d rows for %d calls; `make generate-s3calls`", tableFile(d), len(rows), len(calls))
	}
	return rows
}

// hold compares each row with what the server does.
func (p *prober) hold(rows []row) {
	all := policy(allow("s3:*", "*"))
	nothing := policy(allow("s3:GetObject", "arn:aws:s3:::elsewhere/nothing"))
	for i, r := range rows {
		c := calls[i]
		if r.Call != c.name || r.Action != c.action {
			p.t.Fatalf("row %d is %s, not %s", i, r.Call, c.name)
		}
		if passes := p.passes(c, all); passes == r.Never {
			p.t.Errorf("%s with everything allowed: passed %v, never %v", c.name, passes, r.Never)
		}
		if passes := p.passes(c, nothing); passes != r.Free {
			p.t.Errorf("%s with nothing allowed: passed %v, free %v", c.name, passes, r.Free)
		}
		without := all.Clone()
		for _, way := range r.Any {
			var exactly iam.Policy
			for _, check := range way {
				action, form, _ := strings.Cut(check, "@")
				exactly.Statements = append(exactly.Statements, allow(action, p.resource(form)))
				without.Statements = append(without.Statements, deny(action))
			}
			if !p.passes(c, exactly) {
				p.t.Errorf("%s is denied with %v", c.name, way)
			}
		}
		if len(r.Any) > 0 && c.form != "none" && p.passes(c, without) {
			p.t.Errorf("%s passes with none of %v", c.name, r.Any)
		}
	}
}

// resource is what a form of the target looks like in a policy.
func (p *prober) resource(form string) string {
	const arn = "arn:aws:s3:::"
	switch form {
	case "object":
		return arn + p.target.bucket + "/" + p.target.key + "*"
	case "bucket":
		return arn + p.target.bucket
	case "source":
		return arn + p.target.source
	}
	return "*"
}

const modelFile = "../../../scopes/iam/s3calls.txt"

// linesOf are the model's lines of one dialect.
func linesOf(t *testing.T, d iam.Dialect) []string {
	t.Helper()
	text, err := os.ReadFile(modelFile)
	must(t, err)
	return slices.DeleteFunc(strings.Split(string(text), "\n"), func(l string) bool { return !strings.HasPrefix(l, string(d)+" ") })
}

func rewrite(t *testing.T, d iam.Dialect, model string) {
	t.Helper()
	text := "# What S3-compatible servers check S3 calls as, for calls.go. Generated: make generate-s3calls.\n"
	for _, other := range slices.Sorted(maps.Keys(worlds)) {
		if other == d {
			text += model + "\n"
		} else if lines := linesOf(t, other); len(lines) > 0 {
			text += strings.Join(lines, "\n") + "\n"
		}
	}
	must(t, os.WriteFile(modelFile, []byte(text), 0o600))
}

// model is the rows as scopes/iam reads them.
func model(w *world, names []string, rows []row) string {
	out := []string{fmt.Sprintf("%s tried %s", w.dialect, w.tried)}
	for _, n := range names {
		out = append(out, fmt.Sprintf("%s action %s", w.dialect, n))
	}
	for _, r := range rows {
		if r.Never || r.Free {
			continue
		}
		var ways []string
		for _, way := range r.Any {
			ways = append(ways, strings.Join(way, " & "))
		}
		out = append(out, fmt.Sprintf("%s call %s %s = %s", w.dialect, r.Action, strings.ReplaceAll(r.Call, " ", "_"), strings.Join(ways, " | ")))
	}
	return strings.Join(out, "\n")
}

// target has a version of the key to look at.
func (w *world) target(t *testing.T) target {
	t.Helper()
	out := target{bucket: bucketA, key: keyA, source: bucketB + "/" + keyB}
	head, err := w.root.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucketA), Key: aws.String(keyA)})
	must(t, err)
	if out.version = aws.ToString(head.VersionId); out.version == "" {
		t.Fatal("the server keeps no versions")
	}
	up, err := w.root.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(bucketA), Key: out.gone()})
	must(t, err)
	out.upload = aws.ToString(up.UploadId)
	return out
}

// prober asks one server.
type prober struct {
	*world

	t      *testing.T
	target target
}

// actions are the S3 actions that the server takes in a session policy.
func (p *prober) actions() []string {
	var out []string
	for _, a := range actions.OfService("s3") {
		if p.accepts(a.Name) {
			out = append(out, a.Name)
		}
	}
	// A server may spell one otherwise.
	for _, name := range []string{"s3:GetBucketCors", "s3:PutBucketCors", "s3:ForceDeleteBucket", "s3:HeadBucket"} {
		if !slices.Contains(out, name) && !slices.ContainsFunc(out, func(a string) bool { return strings.EqualFold(a, name) }) && p.accepts(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	if len(out) < 20 {
		p.t.Fatalf("only %d actions are taken", len(out))
	}
	return out
}

// tried are the actions that some call was let through by.
func (p *prober) tried(rows []row) []string {
	var out []string
	for _, r := range rows {
		for _, way := range r.Any {
			for _, check := range way {
				action, _, _ := strings.Cut(check, "@")
				out = append(out, action)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (p *prober) accepts(action string) bool {
	_, err := p.session(p.t.Context(), policy(allow(action, "*")))
	return err == nil
}

func allow(action string, resources ...string) iam.Statement {
	return iam.Statement{Effect: iam.Allow, Action: []string{action}, Resource: resources}
}

func deny(action string) iam.Statement {
	return iam.Statement{Effect: iam.Deny, Action: []string{action}, Resource: []string{"*"}}
}

func policy(ss ...iam.Statement) iam.Policy { return iam.Policy{Version: iam.Version, Statements: ss} }

// passes tells whether the call passes under the policy.
func (p *prober) passes(c call, pol iam.Policy) bool {
	client, err := p.session(p.t.Context(), pol)
	must(p.t, err)
	return passed(p.t, c.do(p.t.Context(), client, p.target))
}

// table makes a row for each call.
func (p *prober) table(names []string) []row {
	everything := p.client(policy(allow("s3:*", "*")))
	nothing := p.client(policy(allow("s3:GetObject", "arn:aws:s3:::elsewhere/nothing")))
	alone := p.each(names, func(n string) iam.Policy { return policy(allow(n, "*")) })
	var rows []row
	for i, c := range calls {
		r := row{Call: c.name, Action: c.action, Never: !passed(p.t, c.do(p.t.Context(), everything, p.target)), Free: passed(p.t, c.do(p.t.Context(), nothing, p.target))}
		switch {
		case r.Never, r.Free:
		case len(p.which(names, alone, i)) > 0:
			for _, n := range p.which(names, alone, i) {
				// MinIO has s3:GetObject in a list with s3:GetObjectVersion, to the letter alone; that is no check of its own.
				if p.dialect == iam.DialectMinIO && !p.passes(c, policy(allow(n[:len(n)-1]+"?", "*"))) {
					continue
				}
				form := p.form(c, n, nil)
				if c.form == "none" && form != "none" {
					continue // MinIO then lists the buckets that the caller may see, and no others
				}
				r.Any = append(r.Any, []string{n + "@" + form})
			}
		default:
			var needed []string
			for _, n := range names {
				if !p.passes(c, policy(allow("s3:*", "*"), deny(n))) {
					needed = append(needed, n)
				}
			}
			needed = p.least(c, needed)
			var way []string
			for _, n := range needed {
				way = append(way, n+"@"+p.form(c, n, needed))
			}
			if len(way) == 0 {
				p.t.Errorf("%s passes with s3:*, and no list of actions was found", c.name)
				continue
			}
			r.Any = [][]string{way}
		}
		rows = append(rows, r)
	}
	return rows
}

// least leaves out what the call passes without: denying an action can deny another too.
func (p *prober) least(c call, needed []string) []string {
	for _, n := range slices.Backward(slices.Clone(needed)) { // the longer names first: the shorter are what users grant
		rest := slices.DeleteFunc(slices.Clone(needed), func(o string) bool { return o == n })
		var pol iam.Policy
		for _, o := range rest {
			pol.Statements = append(pol.Statements, allow(o, "*"))
		}
		if len(rest) > 0 && p.passes(c, pol) {
			needed = rest
		}
	}
	return needed
}

func (p *prober) client(pol iam.Policy) *s3.Client {
	c, err := p.session(p.t.Context(), pol)
	must(p.t, err)
	return c
}

// each makes every call under a policy for each action; the answers are by action and call.
func (p *prober) each(names []string, of func(string) iam.Policy) [][]bool {
	out := make([][]bool, len(names))
	var running sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i, n := range names {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			client, err := p.session(context.WithoutCancel(p.t.Context()), of(n))
			if err != nil {
				p.t.Error(err)
				return
			}
			for _, c := range calls {
				out[i] = append(out[i], passed(p.t, c.do(p.t.Context(), client, p.target)))
			}
		})
	}
	running.Wait()
	if p.t.Failed() {
		p.t.FailNow()
	}
	return out
}

func (p *prober) which(names []string, alone [][]bool, call int) []string {
	var out []string
	for i, n := range names {
		if alone[i][call] {
			out = append(out, n)
		}
	}
	return out
}

// form finds out what of the call the server checks the action on; with are the other actions that the call needs.
func (p *prober) form(c call, action string, with []string) string {
	for _, form := range []string{"object", "bucket", "source"} {
		pol := policy(allow(action, p.resource(form)))
		for _, other := range with {
			if other != action {
				pol.Statements = append(pol.Statements, allow(other, "*"))
			}
		}
		if p.passes(c, pol) {
			return form
		}
	}
	return "none"
}
