package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/plaintext"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type explainCmd struct{ scopeQuery }

func (c *explainCmd) Run(ctx context.Context, g *globals, out *output) error {
	f, err := c.ask(ctx, g)
	if err != nil {
		return err
	}
	if out.json() {
		return f.json(out)
	}
	rows := f.rows()
	if err := out.table(rows); err != nil {
		return err
	}
	text, err := f.policy()
	if err != nil {
		return err
	}
	return out.printf("\n%s", plaintext.CleanProse(text))
}

// json prints the wire's answer, and what is worked out from it here.
func (f *forecast) json(out *output) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(f.ExplainScopeResponse)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	all := map[string]any{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	all["decided"], all["words"] = f.decided, f.words()
	if f.permissions.AWS != nil {
		all["outlives"] = outliving(*f.permissions.AWS)
		if all["risk"], err = explainIAM(f.permissions.Dialect, *f.permissions.AWS); err != nil {
			return err
		}
	}
	return out.value(all)
}

// rows is the answer for people.
func (f *forecast) rows() [][]string {
	var rows [][]string
	row := func(label, format string, args ...any) {
		rows = append(rows, []string{label, clean(fmt.Sprintf(format, args...))})
	}
	s := f.GetScope()
	row("scope", "%s @ %s", s.GetName(), s.GetVersion())
	row("for", "%s", s.GetDescription())
	if d := f.permissions.Dialect; d != "" {
		row("enforced by", "%s", f.enforcers())
	}
	for _, w := range f.words() {
		row("may", "%s", w)
	}
	row("tier", "%s", f.GetTier().Word())
	for _, r := range f.GetTierReasons() {
		row("because", "%s", r)
	}
	if p := f.permissions.AWS; p != nil {
		risk := iam.Assess(f.permissions.Dialect, *p)
		row("reach", "%s", risk.Blast)
		for _, l := range []struct {
			label string
			names []string
		}{{"irreversible", risk.Blast.Irreversible}, {"reads secrets", risk.Blast.SensitiveReads}} {
			if len(l.names) > 0 {
				row(l.label, "%s", few(l.names, 0))
			}
		}
		for _, w := range risk.Ways {
			row("gains rights", "%s: %s", w, w.Why)
		}
		for _, o := range outliving(*p) {
			row("outlives the grant", "%s", o)
		}
		row("policy size", "%d of %d characters with its limits; %d left", f.GetPolicySize(), f.GetPolicyLimit(), f.GetPolicyLimit()-f.GetPolicySize())
	}
	if p := f.permissions.Vault; p != nil {
		row("reach", "%s", vaultReach(p))
	}
	row("lives", "%s; at most %s", f.GetTtl().AsDuration(), s.GetMaxTtl().AsDuration())
	if n := f.GetSourceCidrs(); len(n) > 0 {
		row("works from", "%s", strings.Join(n, ", "))
	}
	if n := f.GetRegions(); len(n) > 0 {
		row("works in", "%s", strings.Join(n, ", "))
	}
	row("answer", "%s", f.answer())
	for _, r := range f.GetReasons() {
		row("because", "%s", r)
	}
	return rows
}

// outliving is what the policy's actions hand out that no deadline reaches.
func outliving(p iam.Policy) (out []string) {
	var patterns []string
	for _, s := range p.Statements {
		if s.Effect == "Allow" {
			patterns = append(patterns, s.Action...)
		}
	}
	for _, o := range actions.OutlivingIn(patterns) {
		out = append(out, o.String())
	}
	return out
}

// enforcers says whose reading the answer is, and what it does not hold.
func (f *forecast) enforcers() string {
	var names []string
	for _, p := range f.each {
		name := string(p.Dialect)
		if p.Dialect.Believes() {
			name += " (which takes conditions' values, the deadline's too, from headers that the caller writes)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", or ")
}

// vaultReach says how far rules reach, in numbers.
func vaultReach(rules []vaultacl.Rule) string {
	open, secrets := 0, 0
	for _, r := range rules {
		if strings.ContainsAny(r.Path, "*+") {
			open++
		}
		if slices.Contains(r.Capabilities, "read") {
			secrets++
		}
	}
	return fmt.Sprintf("%d of %d paths have a wildcard, %d can be read", open, len(rules), secrets)
}

// answer says what the policies say.
func (f *forecast) answer() string {
	switch {
	case !f.decided:
		return "not asked: give --agent for the policies beside the catalog, or ask a broker"
	case f.GetAllowed():
		return "allowed; nobody has to approve"
	case len(f.GetNeeds()) > 0:
		return "needs approval: " + needsText(f.GetNeeds())
	}
	return "denied"
}

// words says what the credential may do, a line for each part.
func (f *forecast) words() []string {
	var out []string
	p := f.permissions
	switch {
	case p.AWS != nil:
		for _, s := range p.AWS.Statements {
			out = append(out, verbs(s.Action)+": "+strings.TrimPrefix(s.String(), "allows "))
		}
	case p.VaultRead != "":
		how := "hands the answer over"
		if p.VaultWrap {
			how = "hands the answer over wrapped"
		}
		out = append(out, fmt.Sprintf("have what %s gives: the broker reads it once and %s; what that can do, Vault decides", p.VaultRead, how))
	default:
		for _, r := range p.Vault {
			text := strings.Join(r.Capabilities, ", ") + ": " + r.Path
			if _, why := vaultacl.TierOf(r.Path, r.Capabilities); why != "" {
				text += " (" + strings.TrimPrefix(why, r.Path+": ") + ")"
			}
			out = append(out, text)
		}
	}
	return out
}

// verbs says in everyday words what some actions do, from their levels and our own classes.
func verbs(names []string) string {
	const list, read, write, tag, reads, sends, deletes, administer = 0, 1, 2, 3, 4, 5, 6, 7
	var has [8]bool
	for _, n := range names {
		a, _ := actions.Lookup(n)
		_, secret := actions.Sensitive(n)
		switch class, _ := actions.Classify(n); {
		case class == actions.ClassAdmin:
			has[administer] = true
		case a.Irreversible():
			has[deletes] = true
		case class == actions.ClassDestructive && secret:
			has[reads] = true
		case class == actions.ClassDestructive:
			has[sends] = true
		case class == actions.ClassRead && a.Level == actions.LevelList:
			has[list] = true
		case class == actions.ClassRead:
			has[read] = true
		case a.Level == actions.LevelTagging:
			has[tag] = true
		default:
			has[write] = true
		}
	}
	var out []string
	for i, word := range []string{"list", "read", "write", "tag", "read secrets", "send data out, open up or lift guards", "delete or destroy", "administer"} {
		if has[i] {
			out = append(out, word)
		}
	}
	if len(out) > 1 {
		last := len(out) - 1
		return strings.Join(out[:last], ", ") + " and " + out[last]
	}
	return strings.Join(out, "")
}

// policy is the compiled policy in the provider's own language, without its limits.
func (f *forecast) policy() (string, error) {
	p := f.permissions
	switch {
	case p.AWS != nil:
		text, err := policyText(*p.AWS, true)
		return string(text), err
	case p.VaultRead != "":
		return "read " + clean(p.VaultRead) + "\n", nil
	}
	lines := strings.Split(vaultacl.Print(p.Vault), "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.TrimRight(strings.Join(slices.Clip(lines), "\n"), "\n") + "\n", nil
}
