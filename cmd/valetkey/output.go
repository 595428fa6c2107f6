package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf16"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes/plaintext"
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

// say tells people something that is not the result. Whoever wrote what is in it, it
// drives no terminal.
func (o *output) say(format string, args ...any) {
	_, _ = fmt.Fprintln(o.stderr, plaintext.CleanProse(fmt.Sprintf(format, args...)))
}

// aside is this output with results among what is said: for a command whose result
// programs run, where there is none.
func (o *output) aside() *output {
	return &output{format: o.format, stdout: o.stderr, stderr: o.stderr}
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
func (o *output) value(v any) error { return o.encode(v, "  ") }

// encode prints any value as JSON on one line, or indented. What nobody sees is escaped,
// as JSON can: a terminal may be what reads it.
func (o *output) encode(v any, indent string) error {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetIndent("", indent)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	var b strings.Builder
	for _, r := range raw.String() {
		switch {
		case r == '\n' || plaintext.Visible(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		}
	}
	if _, err := io.WriteString(o.stdout, b.String()); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// table prints rows in columns. Cells drive no terminal and begin no line, whoever wrote
// what is in them.
func (o *output) table(rows [][]string) error { return printTable(o.stdout, rows) }

func printTable(to io.Writer, rows [][]string) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		cells := make([]string, len(r))
		for i, cell := range r {
			cells[i] = clean(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

func needsText(needs []*valetkeyv1.Need) string { return clean(valetkeyv1.NeedsText(needs)) }

// clean is text that others wrote, for a terminal.
func clean(s string) string { return plaintext.Clean(s) }
