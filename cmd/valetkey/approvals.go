package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

type approvalsCmd struct {
	Grant string `arg:"" optional:"" help:"One request's id; all of it is shown."`
}

func (c *approvalsCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		if c.Grant != "" {
			p, err := pendingGrant(ctx, cl, c.Grant)
			if err != nil {
				return err
			}
			if out.json() {
				return out.message(p)
			}
			return printPending(out, p)
		}
		all := &valetkeyv1.ListPendingGrantsResponse{}
		for more := true; more; more = all.GetNextPageToken() != "" {
			resp, err := cl.Approver.ListPendingGrants(ctx, &valetkeyv1.ListPendingGrantsRequest{PageToken: all.GetNextPageToken()})
			if err != nil {
				return err
			}
			all.Pending, all.NextPageToken = append(all.Pending, resp.GetPending()...), resp.GetNextPageToken()
		}
		if out.json() {
			return out.message(all)
		}
		rows := [][]string{{"GRANT", "TIER", "SCOPE", "PARAMETERS", "AGENT", "LACKS", "LAPSES"}}
		for _, p := range all.GetPending() {
			gr := p.GetGrant()
			lacks := needsText(p.GetLacking())
			if slices.Contains(p.GetBarred(), p.GetPerson()) {
				lacks += " (yours to reject)"
			}
			rows = append(rows, []string{
				gr.GetId(), gr.GetTier().Word(), gr.GetScope(), shortened(valuesText(gr.GetParameters())), clean(gr.GetAgentSpiffeId()), lacks, when(gr.GetDecideBy()),
			})
		}
		return out.table(rows)
	})
}

// pendingGrant fetches a request, and holds what is shown of it against what
// would be signed.
func pendingGrant(ctx context.Context, cl *valetkey.Client, id string) (*valetkeyv1.PendingGrant, error) {
	resp, err := cl.Approver.GetPendingGrant(ctx, &valetkeyv1.GetPendingGrantRequest{GrantId: id})
	if err != nil {
		return nil, err
	}
	p := resp.GetPending()
	if got := p.GetGrant().GetId(); got != id {
		return nil, fmt.Errorf("the broker shows request %q in place of %s; nothing was signed", clean(got), id)
	}
	if evidence.Digest([]byte(p.GetEnvelope())) != p.GetGrant().GetEnvelopeDigest() {
		return nil, fmt.Errorf("the broker shows another request than the one whose digest is to be signed; nothing was signed")
	}
	return p, nil
}

// longestLife is more seconds than any credential lives, a year, and few enough that a Duration can show them.
const longestLife = 366 * 24 * 60 * 60

// envelopeOf reads what an approval is of.
func envelopeOf(p *valetkeyv1.PendingGrant) (evidence.Envelope, error) {
	e, err := evidence.ParseEnvelope(p.GetEnvelope())
	if err == nil && (e.TTLSeconds < 1 || e.TTLSeconds > longestLife) {
		err = fmt.Errorf("the envelope has a life of %d seconds, which is none", e.TTLSeconds)
	}
	if err != nil {
		return e, fmt.Errorf("%w; nothing was signed", err)
	}
	return e, nil
}

// printPending shows what the envelope says, since that is what is signed, and
// beside it what the agent says, which is not.
func printPending(out *output, p *valetkeyv1.PendingGrant) error {
	e, err := envelopeOf(p)
	if err != nil {
		return err
	}
	gr := p.GetGrant()
	rows := [][]string{
		{"grant", gr.GetId()},
		{"state", gr.GetState().Word()},
		{"broker", clean(p.GetBroker())},
		{"agent", clean(e.Agent)},
		{"scope", clean(e.Scope)},
		{"role", clean(e.Role)},
		{"tier", clean(e.Tier)},
	}
	if e.Delegate != "" {
		rows = append(rows, []string{"asked by", clean(e.Delegate)})
	}
	for _, name := range slices.Sorted(maps.Keys(e.Parameters)) {
		rows = append(rows, long("parameter", name+"="+strings.Join(e.Parameters[name], ","))...)
	}
	rows = append(rows,
		[]string{"life", (time.Duration(e.TTLSeconds) * time.Second).String() + " from the last approval on"},
		[]string{"from networks", clean(orAny(e.SourceCIDRs))},
		[]string{"in regions", clean(orAny(e.Regions))},
		[]string{"task", clean(e.Task)},
	)
	for _, said := range [][2]string{{"environment", e.Environment}, {"on behalf of", e.OnBehalfOf}, {"task:", p.GetTask().GetPurpose()}, {"request:", p.GetJustification()}} {
		if said[1] != "" {
			rows = append(rows, quoted("the agent says", said[0]+" "+said[1])...)
		}
	}
	if len(p.GetNamed()) > 0 {
		rows = append(rows, []string{"named", clean(strings.Join(p.GetNamed(), ", ")) + ": has to approve too, and counts for no group"})
	}
	if gr.GetDecideBy() != nil || len(p.GetGroups()) > 0 { // they are signed, whatever the broker says of the grant
		rows = append(rows, []string{"counts for", clean(orNone(p.GetGroups()))})
	}
	if len(p.GetBarred()) > 0 {
		rows = append(rows, []string{"may not approve", clean(strings.Join(p.GetBarred(), ", "))})
	}
	for _, r := range gr.GetTierReasons() {
		rows = append(rows, []string{"tier because", clean(r)})
	}
	for _, r := range gr.GetReasons() {
		rows = append(rows, []string{"because", clean(r)})
	}
	for _, a := range p.GetApprovals() {
		rows = append(rows, quoted(a.GetDecision().Word(), a.GetPerson()+" "+a.GetComment())...)
	}
	if len(p.GetLacking()) > 0 {
		rows = append(rows, []string{"lacks", needsText(p.GetLacking())})
	}
	if gr.GetDecideBy() == nil {
		rows = append(rows, []string{"expires", when(gr.GetExpiresAt())})
	}
	if gr.GetDecideBy() != nil || len(p.GetGroups()) > 0 {
		rows = append(rows, []string{"lapses", when(p.GetLapsesAt())}) // as it is signed
	}
	rows = append(rows, []string{"digest", gr.GetEnvelopeDigest()})
	if err := out.table(rows); err != nil {
		return err
	}
	if err := e.Permissions.Indent(jsontext.WithIndent("  ")); err != nil {
		return fmt.Errorf("reading the permissions: %w", err)
	}
	if _, err := fmt.Fprintln(out.stdout, "permissions"); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	for line := range strings.Lines(string(e.Permissions)) {
		for i, piece := range pieces(clean(strings.TrimSuffix(line, "\n")), permissionsWidth) {
			if i > 0 {
				piece = "| " + piece
			}
			if _, err := fmt.Fprintln(out.stdout, piece); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
		}
	}
	return nil
}

// quoteWidth is short enough for a terminal of 80 columns: what the terminal broke
// into lines by itself could look like rows of ours.
const quoteWidth = 56

// quoted puts somebody's words into rows, behind a bar.
func quoted(name, text string) (rows [][]string) {
	line := ""
	flush := func() {
		if line != "" {
			rows, name, line = append(rows, []string{name, "| " + line}), "", ""
		}
	}
	for word := range strings.FieldsSeq(clean(text)) {
		if len(line)+len(word) >= quoteWidth {
			flush()
		}
		for ; len(word) > quoteWidth; flush() {
			cut := strings.ToValidUTF8(word[:quoteWidth], "")
			line, word = cut, word[len(cut):]
		}
		line = strings.TrimSpace(line + " " + word)
	}
	flush()
	return rows
}

// permissionsWidth is quoteWidth for a line without a name before it.
const permissionsWidth = 76

// pieces is a text in parts of so many bytes at most, with nothing dropped.
func pieces(text string, width int) (out []string) {
	for len(text) > width {
		cut := width
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		out, text = append(out, text[:cut]), text[cut:]
	}
	return append(out, text)
}

// long puts a text that an agent chose into a row, or where a terminal would break it into rows behind a bar: with
// spaces enough in it the rest could look like a row of ours.
func long(name, text string) (rows [][]string) {
	text = clean(text)
	if len(text) <= quoteWidth {
		return [][]string{{name, text}}
	}
	for _, piece := range pieces(text, quoteWidth) {
		rows, name = append(rows, []string{name, "| " + piece}), ""
	}
	return rows
}

// shortened is as much of a text as a list shows.
func shortened(text string) string {
	const most = 64
	if text = clean(text); len(text) <= most {
		return text
	}
	return pieces(text, most)[0] + "..."
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "no group"
	}
	return strings.Join(list, ", ")
}

func orAny(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ", ")
}
