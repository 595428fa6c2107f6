package evidence

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// Namespace is the one that statements are signed in: "ssh-keygen -Y sign -n".
const Namespace = "approval@valetkey.dev"

var (
	// ErrSignature means that a signature does not stand for the statement.
	ErrSignature = errors.New("the signature does not verify")
	// ErrKey means that a public key cannot be used.
	ErrKey = errors.New("unusable key")
)

const (
	// minRSA is NIST SP 800-57's for 128 bits of security.
	minRSA = 3072
	// maxSignature is well over what any allowed key makes, in bytes of armor.
	maxSignature = 8 << 10
	// userVerified is the flag by which a security key says that it has asked for
	// its PIN or a fingerprint (WebAuthn 6.1, PROTOCOL.u2f).
	userVerified = 0x04
)

// ParseKey reads a public key as authorized_keys and *.pub files have it, without
// options. Ed25519, ECDSA, RSA from 3,072 bits on, and both kinds of security key are taken.
func ParseKey(line string) (ssh.PublicKey, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	case len(options) > 0 || len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("%w: one key on one line is wanted, without options", ErrKey)
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return key, nil
	case ssh.KeyAlgoRSA:
		if c, ok := key.(ssh.CryptoPublicKey); ok {
			if pub, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && pub.N.BitLen() >= minRSA {
				return key, nil
			}
		}
		return nil, fmt.Errorf("%w: RSA of less than %d bits", ErrKey, minRSA)
	}
	return nil, fmt.Errorf("%w: of type %s", ErrKey, key.Type())
}

// Hardware says whether a key lives in a security key (FIDO2).
func Hardware(key ssh.PublicKey) bool { return strings.HasPrefix(key.Type(), "sk-") }

// Signer is whose key has signed, and how.
type Signer struct {
	Key ssh.PublicKey
	// Verified says that a security key attests a PIN or a fingerprint, beyond the
	// touch that every one attests.
	Verified bool
	// Armored is the signature alone, without what may have stood around it.
	Armored string
}

// Check verifies an armored signature of a statement by one of keys.
func Check(statement []byte, armored string, keys []ssh.PublicKey) (Signer, error) {
	if len(armored) > maxSignature {
		return Signer{}, fmt.Errorf("%w: it has %d bytes, of at most %d", ErrSignature, len(armored), maxSignature)
	}
	sig, err := sshsig.Unarmor([]byte(armored))
	if err != nil {
		return Signer{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	at := slices.IndexFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), sig.PublicKey.Marshal()) })
	if at < 0 {
		return Signer{}, fmt.Errorf("%w: %s is none of this person's keys", ErrSignature, ssh.FingerprintSHA256(sig.PublicKey))
	}
	if !Hardware(keys[at]) && len(sig.Signature.Rest) > 0 {
		return Signer{}, fmt.Errorf("%w: there is something behind it", ErrSignature)
	}
	if err := sshsig.Verify(bytes.NewReader(statement), sig, keys[at], sig.HashAlgorithm, Namespace); err != nil {
		return Signer{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	s := Signer{Key: keys[at], Armored: string(sshsig.Armor(sig))}
	// x/crypto has parsed the flags, and refused a signature without a touch.
	s.Verified = Hardware(s.Key) && len(sig.Signature.Rest) > 0 && sig.Signature.Rest[0]&userVerified != 0
	return s, nil
}
