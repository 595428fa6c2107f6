package scopes

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/plaintext"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// maxTTL caps every scope: AWS gives no role session longer
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, DurationSeconds).
const maxTTL = 12 * time.Hour

var scopeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// compiler turns one file into one scope. Its errors are faults with a path into the file.
type compiler struct {
	doc    fileScope
	scope  *Scope
	params map[string]param
	used   map[string]bool
}

func compile(doc fileScope) (*Scope, error) {
	c := &compiler{doc: doc, scope: &Scope{}, params: map[string]param{}, used: map[string]bool{}}
	for _, step := range []func() error{c.head, c.ttl, c.bindings, c.parameters, c.body, c.unused, c.widen, c.enforce, c.outlives} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	for _, reason := range c.scope.reasons {
		if reason.tier == c.scope.tier {
			c.scope.why = append(c.scope.why, reason.text)
		}
	}
	slices.Sort(c.scope.why)
	v, err := fingerprint(c.scope)
	if err != nil {
		return nil, err
	}
	c.scope.version = v
	return c.scope, nil
}

func (c *compiler) head() error {
	d, s := c.doc, c.scope
	if !scopeName.MatchString(d.Name) {
		return atf("$.name", "name %q is not lower-case letters, digits and dashes, at most 63", d.Name)
	}
	if strings.TrimSpace(d.Description) == "" || len(d.Description) > MaxValueBytes {
		return atf("$.description", "the description is empty or over %d bytes", MaxValueBytes)
	}
	if err := plaintext.Prose(d.Description); err != nil {
		return atf("$.description", "the description has %w", err)
	}
	if !scopeName.MatchString(d.Role) {
		return atf("$.role", "role %q is not lower-case letters, digits and dashes, at most 63", d.Role)
	}
	s.name, s.description, s.role, s.provider = d.Name, d.Description, d.Role, Provider(d.Provider)
	if s.provider != ProviderAWS && s.provider != ProviderVault {
		return atf("$.provider", "provider %q is neither %q nor %q", d.Provider, ProviderAWS, ProviderVault)
	}
	return nil
}

func (c *compiler) ttl() error {
	var err error
	if c.scope.defaultTTL, err = parseTTL(c.doc.TTL.Default); err != nil {
		return atf("$.ttl.default", "ttl.default: %w", err)
	}
	if c.scope.maxTTL, err = parseTTL(c.doc.TTL.Max); err != nil {
		return atf("$.ttl.max", "ttl.max: %w", err)
	}
	if c.scope.defaultTTL > c.scope.maxTTL {
		return atf("$.ttl.default", "ttl.default %s is over ttl.max %s", c.doc.TTL.Default, c.doc.TTL.Max)
	}
	return nil
}

func parseTTL(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no duration such as 15m", s)
	case d < time.Second || d > maxTTL || d%time.Second != 0:
		return 0, fmt.Errorf("%s is not whole seconds from 1s to %s", s, maxTTL)
	}
	return d, nil
}

func (c *compiler) bindings() error {
	if c.scope.provider == ProviderVault && len(c.doc.Bindings.SourceCIDRs) > 0 {
		// Vault binds networks to token roles, not to tokens, so the limit could not be kept.
		return atf("$.bindings.source_cidrs", "source_cidrs go with provider %q", ProviderAWS)
	}
	for i, s := range c.doc.Bindings.SourceCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Masked() != p || p.Bits() == 0 || p.String() != s {
			return atf(fmt.Sprintf("$.bindings.source_cidrs[%d]", i), "%q is no network such as 203.0.113.0/24, or is all networks", s)
		}
		c.scope.sourceCIDRs = append(c.scope.sourceCIDRs, s)
	}
	slices.Sort(c.scope.sourceCIDRs)
	c.scope.sourceCIDRs = slices.Compact(c.scope.sourceCIDRs)
	if c.scope.provider == ProviderVault && len(c.doc.Bindings.Regions) > 0 {
		return atf("$.bindings.regions", "regions go with provider %q", ProviderAWS)
	}
	for i, s := range c.doc.Bindings.Regions {
		if !shapes[TypeRegion].form.MatchString(s) {
			return atf(fmt.Sprintf("$.bindings.regions[%d]", i), "%q is no Region such as eu-west-1", s)
		}
		c.scope.regions = append(c.scope.regions, s)
	}
	slices.Sort(c.scope.regions)
	c.scope.regions = slices.Compact(c.scope.regions)
	return nil
}

func (c *compiler) parameters() error {
	if len(c.doc.Params) > MaxParams {
		return atf("$.params", "%d parameters are over the %d allowed", len(c.doc.Params), MaxParams)
	}
	for _, name := range slices.Sorted(maps.Keys(c.doc.Params)) {
		path := "$.params." + name
		if !placeholder.MatchString(name) {
			return atf("$.params", "parameter name %q is not a lower-case word", name)
		}
		p, err := compileParam(path, name, c.doc.Params[name])
		if err != nil {
			return err
		}
		c.params[name] = p
		c.scope.params = append(c.scope.params, p.Param)
	}
	c.scope.compiled = c.params
	return nil
}

func compileParam(path, name string, f fileParam) (param, error) {
	p := param{Param: Param{Name: name, Type: ParamType(f.Type), Description: f.Description, List: f.List, Pattern: f.Pattern}}
	if _, ok := shapes[p.Type]; !ok {
		return p, atf(path+".type", "parameter %q has an unknown type %q; known are %v", name, f.Type, slices.Sorted(maps.Keys(shapes)))
	}
	if err := plaintext.Prose(f.Description); err != nil {
		return p, atf(path+".description", "parameter %q: its description has %w", name, err)
	}
	if err := plaintext.Line(f.Pattern); err != nil {
		return p, atf(path+".pattern", "parameter %q: its pattern has %w", name, err)
	}
	if (p.Type == TypePattern) != (f.Pattern != "") {
		return p, atf(path, "parameter %q: pattern goes with type pattern, and only with it", name)
	}
	if f.Pattern != "" {
		form, err := compilePattern(f.Pattern)
		if err != nil {
			return p, atf(path+".pattern", "parameter %q: %w", name, err)
		}
		p.form = form
	}
	if (p.Type == TypeInteger) != (f.Min != nil && f.Max != nil) || (p.Type != TypeInteger && (f.Min != nil || f.Max != nil)) {
		return p, atf(path, "parameter %q: min and max both go with type integer, and only with it", name)
	}
	if p.Type == TypeInteger {
		p.Min, p.Max = *f.Min, *f.Max
		if p.Min > p.Max || p.Min == math.MinInt64 {
			return p, atf(path+".min", "parameter %q: min %d is over max %d", name, p.Min, p.Max)
		}
	}
	if p.Type == TypeEnum && len(f.Allowed) == 0 {
		return p, atf(path, "parameter %q: an enum without allowed values takes nothing", name)
	}
	for i, v := range f.Allowed {
		v, err := p.canonical(v)
		if err != nil {
			return p, atf(fmt.Sprintf("%s.allowed[%d]", path, i), "parameter %q: %w", name, err)
		}
		p.Allowed = append(p.Allowed, v)
	}
	slices.Sort(p.Allowed)
	p.Allowed = slices.Compact(p.Allowed)
	return p, nil
}

// body compiles what the scope gives: exactly one of statements, paths and read, as its provider takes.
func (c *compiler) body() error {
	d := c.doc
	switch {
	case c.scope.provider == ProviderAWS:
		if len(d.Paths) > 0 || d.Read != "" || d.Wrap {
			return atf("$.provider", "paths, read and wrap go with provider %q", ProviderVault)
		}
		return c.statements()
	case len(d.Statements) > 0:
		return atf("$.statements", "statements go with provider %q", ProviderAWS)
	case len(d.Paths) > 0 && d.Read != "":
		return atf("$.read", "a scope has paths or read, not both")
	case d.Wrap && d.Read == "":
		return atf("$.wrap", "wrap goes with read")
	case len(d.Paths) == 0 && d.Read == "":
		return at("$", ErrEmpty)
	}
	return c.vault()
}

// parse reads one template and notes what it uses.
func (c *compiler) parse(path, text string) (template, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return nil, at(path, err)
	}
	for _, name := range t.names() {
		if _, ok := c.params[name]; !ok {
			return nil, atf(path, "%q uses the parameter %q, which params does not declare", text, name)
		}
		c.used[name] = true
	}
	return t, nil
}

// unused refuses a parameter that changes nothing: a policy that trusts it would trust the caller's word.
func (c *compiler) unused() error {
	for _, p := range c.scope.params {
		if !c.used[p.Name] {
			return atf("$.params."+p.Name, "parameter %q is declared and never used", p.Name)
		}
	}
	return nil
}

// vault compiles paths, or the one path to read.
func (c *compiler) vault() error {
	for i, p := range c.doc.Paths {
		at0 := fmt.Sprintf("$.paths[%d]", i)
		t, err := c.vaultPath(at0+".path", p.Path)
		if err != nil {
			return err
		}
		if len(p.Capabilities) == 0 {
			return atf(at0+".capabilities", "%w: path %q has no capabilities", ErrEmpty, p.Path)
		}
		for _, capability := range p.Capabilities {
			if !slices.Contains(vaultacl.Capabilities(), capability) {
				return atf(at0+".capabilities", "path %q: capability %q is not among %v", p.Path, capability, vaultacl.Capabilities())
			}
		}
		rule := vaultacl.Canonical([]vaultacl.Rule{{Path: p.Path, Capabilities: p.Capabilities}})[0]
		c.scope.paths = append(c.scope.paths, vaultPath{path: t, capabilities: rule.Capabilities})
		c.raise(vaultTier(t.text(), rule.Capabilities))
	}
	if c.doc.Read == "" {
		return nil
	}
	t, err := c.vaultPath("$.read", c.doc.Read)
	if err != nil {
		return err
	}
	if strings.ContainsAny(c.doc.Read, "*+") {
		return atf("$.read", "%q has a wildcard; read takes one path", c.doc.Read)
	}
	c.scope.read, c.scope.wrap = t, c.doc.Wrap
	c.raise(dynamicTier(t.text()))
	return nil
}

func (c *compiler) vaultPath(path, text string) (template, error) {
	t, err := c.parse(path, text)
	if err != nil {
		return nil, err
	}
	if t[0].literal == "" || !strings.Contains(t[0].literal, "/") {
		return nil, atf(path, "%q: the first segment names the mount and takes no parameter", text)
	}
	sample := map[string][]string{}
	for _, name := range t.names() {
		if p := c.params[name]; !shapes[p.Type].vault {
			return nil, atf(path, "%q: a parameter of type %s cannot stand in a Vault path", text, p.Type)
		}
		sample[name] = []string{"x"}
	}
	one, err := t.render(sample)
	if err == nil {
		err = vaultacl.Validate([]vaultacl.Rule{{Path: one[0], Capabilities: []string{"read"}}})
	}
	return t, at(path, err)
}

// raise takes a tier and its reason into the scope's.
func (c *compiler) raise(t Tier, why string) {
	c.scope.tier = max(c.scope.tier, t)
	if why != "" {
		c.scope.reasons = append(c.scope.reasons, tierReason{t, why})
	}
}
