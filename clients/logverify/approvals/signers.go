package approvals

import (
	"bufio"
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Namespace is the one that approvals are signed in.
const Namespace = "approval@valetkey.dev"

// ErrSigners means that an allowed_signers file cannot be read, or is empty.
var ErrSigners = errors.New("unusable allowed_signers")

// minRSA is in bits, as the broker has it.
const minRSA = 3072

// Signers are the people whose approvals count, by name.
type Signers map[string]*person

var groupName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// ParseSigners reads the file that "ssh-keygen -Y verify -f" reads (ssh-keygen(1),
// ALLOWED SIGNERS): a line is a list of names, then a key. The first name is the
// person's; of the others, "@sre" is a group that they are in, a SPIFFE ID one that
// they call with, and all else an alias of theirs. To ssh-keygen they are names that
// the key answers to. A person with several keys has a line for each, and is in the
// groups of all. Of the options only namespaces is known. Patterns and certificate
// authorities are refused, since a key has to be one person's.
func ParseSigners(file []byte) (Signers, error) {
	out, owners := Signers{}, map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := out.add(line, owners); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrSigners, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSigners, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: it names nobody for %s", ErrSigners, Namespace)
	}
	return out, out.checkNames()
}

// add takes one line. owners are the people that the keys so far belong to.
func (s Signers) add(line string, owners map[string]string) error {
	names, rest, err := principals(line)
	if err != nil {
		return err
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil {
		return err
	}
	ours := true
	for _, o := range options {
		value, ok := strings.CutPrefix(strings.ToLower(o), "namespaces=")
		if !ok {
			return fmt.Errorf("option %q is not known here", o)
		}
		ours = strings.Contains(","+strings.Trim(value, `"`)+",", ","+Namespace+",")
	}
	if !ours {
		return nil
	}
	if err := usable(key); err != nil {
		return err
	}
	// One person under two names would be two people.
	fingerprint := ssh.FingerprintSHA256(key)
	if owner, taken := owners[fingerprint]; taken && owner != names[0] {
		return fmt.Errorf("%s is %s's, and has to be one person's, under one name", fingerprint, owner)
	}
	owners[fingerprint] = names[0]
	if s[names[0]] == nil {
		s[names[0]] = &person{name: names[0]}
	}
	return s[names[0]].add(names, key)
}

// principals takes the names of a line apart, which may stand in quotes.
func principals(line string) (names []string, rest string, err error) {
	field, rest, _ := strings.Cut(line, " ")
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		if field, rest, ok = strings.Cut(quoted, `"`); !ok {
			return nil, "", errors.New("a quote that does not end")
		}
	}
	if strings.ContainsAny(field, `*?!"`) {
		return nil, "", fmt.Errorf("%q is no list of names", field)
	}
	names = strings.Split(field, ",")
	if slices.Contains(names, "") || strings.HasPrefix(names[0], "@") || strings.HasPrefix(names[0], "spiffe:") {
		return nil, "", fmt.Errorf("%q does not begin with the person's name, or has an empty one", field)
	}
	return names, rest, nil
}

// usable takes the kinds of key that the broker takes.
func usable(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		if c, ok := key.(ssh.CryptoPublicKey); ok {
			if pub, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && pub.N.BitLen() >= minRSA {
				return nil
			}
		}
	}
	return fmt.Errorf("a key of type %s, or of less than %d bits, counts for nobody", key.Type(), minRSA)
}

// checkNames finds one person under two names.
func (s Signers) checkNames() error {
	for _, p := range s {
		for _, q := range s {
			if p != q && slices.ContainsFunc(q.names, p.isNamed) {
				return fmt.Errorf("%w: %s and %s go by the same name, so that one may be the other, who would count twice", ErrSigners, min(p.name, q.name), max(p.name, q.name))
			}
		}
	}
	return nil
}
