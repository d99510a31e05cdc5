package remote

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// dialogue is our part of one AUTHENTICATE (RFC 3501 §6.2.2, RFC 4422).
type dialogue struct {
	mechanism string // as after AUTH=
	// steps are our responses, in order, each to a challenge. Where we speak
	// first, the first is to an empty one.
	steps       []func(challenge string) (string, error)
	firstIsOurs bool
	// needed is how many of the steps have to be taken before OK is believed.
	needed int
	// proof is the step whose response first depends on the secret: a server
	// that refuses before has not judged it.
	proof int
	// mutual: the server has to prove itself with the last of those needed.
	mutual bool
	// complaint is what a server said of an access token before its NO.
	complaint string
}

// credentials are who logs in and by what.
type credentials struct {
	authcid string // who authenticates
	authzid string // in whose place; empty: in his own
	secret  string // password or access token; empty with a certificate
}

// challenge decodes what a server sent after "+".
func challenge(text string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("%w: a challenge that is not base64", errProtocol)
	}
	return string(data), nil
}

// say is a step whose challenge says nothing that matters.
func say(response string) func(string) (string, error) {
	return func(string) (string, error) { return response, nil }
}

// saslPlain is PLAIN (RFC 4616).
func saslPlain(_ *Conn, who credentials) *dialogue {
	return &dialogue{mechanism: "PLAIN", steps: []func(string) (string, error){say(who.authzid + "\x00" + who.authcid + "\x00" + who.secret)}, firstIsOurs: true, needed: 1}
}

// saslLogin is LOGIN, which has no RFC: servers ask for name and password in
// words that differ.
func saslLogin(_ *Conn, who credentials) *dialogue {
	return &dialogue{mechanism: "LOGIN", steps: []func(string) (string, error){say(who.authcid), say(who.secret)}, needed: 2, proof: 1}
}

// saslCRAMMD5 is CRAM-MD5 (RFC 2195).
func saslCRAMMD5(_ *Conn, who credentials) *dialogue {
	return &dialogue{mechanism: "CRAM-MD5", needed: 1, steps: []func(string) (string, error){func(text string) (string, error) {
		asked, err := challenge(text)
		if err != nil {
			return "", err
		}
		sum := hmac.New(md5.New, []byte(who.secret))
		sum.Write([]byte(asked))
		return who.authcid + " " + hex.EncodeToString(sum.Sum(nil)), nil
	}}}
}

// saslExternal is EXTERNAL (RFC 4422 appendix A). It always names the user, so
// that a certificate of somebody else is refused instead of opening his
// mailbox.
func saslExternal(_ *Conn, who credentials) *dialogue {
	return &dialogue{mechanism: "EXTERNAL", steps: []func(string) (string, error){say(who.authcid)}, firstIsOurs: true, needed: 1}
}

// saslXOAUTH2 is XOAUTH2, as Google and Microsoft describe it. A server tells
// an error as a challenge, which is answered by an empty line.
func saslXOAUTH2(_ *Conn, who credentials) *dialogue {
	return bearer("XOAUTH2", "user="+who.authcid+"\x01auth=Bearer "+who.secret+"\x01\x01", "")
}

// saslOAUTHBEARER is OAUTHBEARER (RFC 7628).
func saslOAUTHBEARER(c *Conn, who credentials) *dialogue {
	return bearer("OAUTHBEARER", "n,a="+saslName(who.authcid)+",\x01host="+c.server.Host+"\x01port="+strconv.Itoa(c.server.Port)+
		"\x01auth=Bearer "+who.secret+"\x01\x01", "\x01")
}

// saslName spells a name within a GS2 header (RFC 5801 §4).
func saslName(name string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name)
}

// bearer is a dialogue of one response, with an access token, and another that
// ends it after the server has told an error (RFC 7628 §3.2.3).
func bearer(mechanism, response, end string) *dialogue {
	d := &dialogue{mechanism: mechanism, firstIsOurs: true, needed: 1}
	d.steps = []func(string) (string, error){say(response), func(text string) (string, error) {
		d.complaint = bearerError(text)
		d.needed = len(d.steps) + 1 // no OK after this
		return end, nil
	}}
	return d
}

// bearerError reads the status that a server gives for a token that it does
// not take; other words of it are as good as they can be made.
func bearerError(text string) string {
	told, err := challenge(text)
	if err != nil {
		told = text
	}
	var parsed struct{ Status, Scope string }
	if json.Unmarshal([]byte(told), &parsed) == nil && parsed.Status != "" {
		told = "status " + parsed.Status
		if parsed.Scope != "" {
			told += ", scope " + parsed.Scope
		}
	}
	return printable(told)
}

// Bounds of what a server may ask of SCRAM. The library refuses less than 4096
// rounds (RFC 7677 §4); more than a million would keep us busy for a second
// each time.
const scramRoundsMost = 1_000_000

// errUnproven: the server does not know what it should.
var errUnproven = errors.New("it has not proved that it knows the password: somebody may stand between")

// saslSCRAM is SCRAM (RFC 5802, RFC 7677) without channel binding. The server
// has to prove that it knows the password before its OK is believed.
func saslSCRAM(mechanism string, hash scram.HashGeneratorFcn) func(*Conn, credentials) *dialogue {
	return func(_ *Conn, who credentials) *dialogue {
		d := &dialogue{mechanism: mechanism, firstIsOurs: true, needed: 3, proof: 1, mutual: true}
		var talk *scram.ClientConversation
		d.steps = []func(string) (string, error){
			func(string) (string, error) {
				client, err := hash.NewClient(who.authcid, who.secret, who.authzid)
				if err != nil { // RFC 4013 has no form of it; many servers take it as it is
					client, err = hash.NewClientUnprepped(who.authcid, who.secret, who.authzid)
				}
				if err != nil {
					return "", err
				}
				talk = client.NewConversation()
				return talk.Step("")
			},
			func(text string) (string, error) {
				first, err := challenge(text)
				if err != nil {
					return "", err
				}
				if rounds := scramRounds(first); rounds > scramRoundsMost {
					return "", fmt.Errorf("%w: %s asks for %d rounds", errProtocol, mechanism, rounds)
				}
				response, err := talk.Step(first)
				if err != nil {
					err = fmt.Errorf("%w: %s: %w", errProtocol, mechanism, err)
				}
				return response, err
			},
			func(text string) (string, error) {
				final, err := challenge(text)
				if err != nil {
					return "", err
				}
				if said, refused := strings.CutPrefix(final, "e="); refused {
					d.complaint = printable(said)
					return "", errRefusedAlready
				}
				if _, err := talk.Step(final); err != nil || !talk.Valid() {
					return "", errUnproven
				}
				return "", nil
			},
		}
		return d
	}
}

// errRefusedAlready: the server has refused in a challenge; its NO follows.
var errRefusedAlready = errors.New("refused")

// scramRounds reads the iteration count of a server's first message; 0 where
// there is none.
func scramRounds(first string) int {
	for _, part := range strings.Split(first, ",") {
		if digits, ok := strings.CutPrefix(part, "i="); ok {
			n, _ := strconv.Atoi(digits) // the largest where it is larger
			return n
		}
	}
	return 0
}
