package approvals

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Namespace is the one that approvals are signed in.
const Namespace = "approval@valetkey.dev"

// ErrSigners means that an allowed_signers file cannot be read, or is empty.
var ErrSigners = errors.New("unusable allowed_signers")

// Signers are the public keys of people, by name.
type Signers map[string][]ssh.PublicKey

// ParseSigners reads the file that "ssh-keygen -Y verify -f" reads (ssh-keygen(1),
// ALLOWED SIGNERS): a line is a name, then a key. Of its options only namespaces
// is known. Lists of names, patterns and certificate authorities are refused,
// since a key has to be one person's, under one name.
func ParseSigners(file []byte) (Signers, error) {
	out, owners := Signers{}, map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		names, rest, _ := strings.Cut(line, " ")
		if strings.ContainsAny(names, `*?!"`) {
			return nil, fmt.Errorf("%w: line %d: %q is no list of names", ErrSigners, n, names)
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrSigners, n, err)
		}
		ours := true
		for _, o := range options {
			value, ok := strings.CutPrefix(strings.ToLower(o), "namespaces=")
			if !ok {
				return nil, fmt.Errorf("%w: line %d: option %q is not known here", ErrSigners, n, o)
			}
			ours = strings.Contains(","+strings.Trim(value, `"`)+",", ","+Namespace+",")
		}
		if !ours {
			continue
		}
		// One person under two names would be two people.
		fingerprint := ssh.FingerprintSHA256(key)
		if owner, taken := owners[fingerprint]; strings.Contains(names, ",") || taken && owner != names {
			return nil, fmt.Errorf("%w: line %d: %s has to be one person's, under one name", ErrSigners, n, fingerprint)
		}
		owners[fingerprint] = names
		out[names] = append(out[names], key)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSigners, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: it names nobody for %s", ErrSigners, Namespace)
	}
	return out, nil
}
