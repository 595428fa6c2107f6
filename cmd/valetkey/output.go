package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// The values of --output.
const (
	formatJSON     = "json"
	formatMarkdown = "markdown"
)

// output is where a command writes: results to stdout, talk to stderr.
type output struct {
	format         string
	stdout, stderr io.Writer
}

func (o *output) json() bool { return o.format == formatJSON }

// say tells people something that is not the result.
func (o *output) say(format string, args ...any) {
	_, _ = fmt.Fprintf(o.stderr, format+"\n", args...)
}

// message prints a wire message as indented JSON with the proto's names.
func (o *output) message(m proto.Message) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	// protojson varies its spaces on purpose; programs that diff want one form.
	return o.value(json.RawMessage(raw))
}

// value prints any value as indented JSON.
func (o *output) value(v any) error {
	enc := json.NewEncoder(o.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// table prints rows in columns.
func (o *output) table(rows [][]string) error { return printTable(o.stdout, rows) }

func printTable(to io.Writer, rows [][]string) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(r, "\t")); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func tierName(t valetkeyv1.Tier) string {
	return strings.ToLower(strings.TrimPrefix(t.String(), "TIER_"))
}

func stateName(s valetkeyv1.GrantState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "GRANT_STATE_"))
}

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

func needsText(needs []*valetkeyv1.Need) string {
	var out []string
	for _, n := range needs {
		out = append(out, fmt.Sprintf("%d of group %s", n.GetApprovals(), clean(n.GetGroup())))
	}
	return strings.Join(out, ", ")
}

// clean keeps text that others wrote from driving the reader's terminal, and from being read in another order than it
// is in: control characters become spaces, and invisible ones U+FFFD.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Cf, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
