package vaultacl

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Marshal returns the policy as HCL, in the order of its paths and otherwise in one form. It refuses a policy that the
// text would not give back, such as one with a capability that Vault does not know.
func (p Policy) Marshal() ([]byte, error) {
	var b strings.Builder
	for i, r := range p.Paths {
		if i > 0 {
			b.WriteByte('\n')
		}
		if err := r.print(&b); err != nil {
			return nil, err
		}
	}
	text := []byte(b.String())
	if _, err := Parse(text); err != nil {
		return nil, fmt.Errorf("printing policy %q: it does not read back: %w", p.Name, err)
	}
	return text, nil
}

func (r PathRule) print(b *strings.Builder) error {
	path := r.Path
	if rest := strings.TrimLeft(path, "/"); rest != path && !strings.HasPrefix(rest, "{{") {
		path = "/" + path // one is taken off again
	}
	fmt.Fprintf(b, "path %s {\n", quote(path))
	if r.Comment != "" {
		fmt.Fprintf(b, "  comment = %s\n", quote(r.Comment))
	}
	fmt.Fprintf(b, "  capabilities = %s\n", quoted(r.Capabilities))
	for _, m := range []struct {
		key    string
		values map[string][]any
	}{{"allowed_parameters", r.Allowed}, {"denied_parameters", r.Denied}} {
		if len(m.values) == 0 {
			continue
		}
		fmt.Fprintf(b, "  %s = {\n", m.key)
		for _, name := range slices.Sorted(maps.Keys(m.values)) {
			fmt.Fprintf(b, "    %s = [", quote(name))
			for i, v := range m.values[name] {
				text, err := valueText(v)
				if err != nil {
					return fmt.Errorf("printing path %q: %s: %w", r.Path, name, err)
				}
				if i > 0 {
					b.WriteString(", ")
				}
				b.WriteString(text)
			}
			b.WriteString("]\n")
		}
		b.WriteString("  }\n")
	}
	for _, l := range []struct {
		key    string
		values []string
	}{{"required_parameters", r.Required}, {"mfa_methods", r.MFAMethods}, {"subscribe_event_types", r.SubscribeEventTypes}} {
		if len(l.values) > 0 {
			fmt.Fprintf(b, "  %s = %s\n", l.key, quoted(l.values))
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"min_wrapping_ttl", r.MinWrap}, {"max_wrapping_ttl", r.MaxWrap}} {
		if d.value != 0 {
			fmt.Fprintf(b, "  %s = %q\n", d.key, d.value)
		}
	}
	b.WriteString("}\n")
	return nil
}

// quote writes a string. HCL takes what is between "${" and "}" as it stands, escapes and all, so the "$" is escaped.
func quote(s string) string { return strings.ReplaceAll(strconv.Quote(s), "${", `\u0024{`) }

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quote(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func valueText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return quote(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case Number:
		return string(v), nil
	}
	return "", fmt.Errorf("%w: a value of type %T", ErrPolicy, v)
}
