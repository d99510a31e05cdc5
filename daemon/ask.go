package daemon

import (
	"context"
	"fmt"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// What an [Operator] is asked over the control socket.
type (
	holdsRequest struct {
		Names   []string    `json:"names,omitempty"`
		Reason  mail.Reason `json:"reason,omitempty"`
		Because string      `json:"because,omitempty"`
	}
	deletionsRequest struct {
		Accounts []string `json:"accounts,omitempty"`
		Names    []string `json:"names,omitempty"`
	}
	statesRequest struct {
		Accounts []string `json:"accounts,omitempty"`
	}
	cutoverRequest struct {
		Word     string   `json:"word"` // switched, start, abort, finish or ack
		Domain   string   `json:"domain"`
		Accounts []string `json:"accounts,omitempty"`
		Host     string   `json:"host,omitempty"`
		Because  string   `json:"because,omitempty"`
	}
	traceRequest struct {
		Accounts []string `json:"accounts"`
		On       bool     `json:"on"`
	}
	skipRequest struct {
		Account string `json:"account"`
		Because string `json:"because"`
	}
	findRequest struct {
		Account   string `json:"account"`
		MessageID string `json:"message_id"`
	}
	lookRequest struct {
		Accounts []string    `json:"accounts"`
		Mode     verify.Mode `json:"mode,omitempty"`
		Sample   float64     `json:"sample,omitempty"`
	}
)

// methods lets the commands ask the operator of a running daemon.
func (r *running) methods() map[string]web.Method {
	return map[string]web.Method{
		"holds": web.NewMethod(func(ctx context.Context, _ holdsRequest) ([]AccountHold, error) { return r.operator().Holds(ctx) }),
		"hold-retry": web.NewMethod(func(ctx context.Context, q holdsRequest) (int, error) {
			return r.operator().Retry(ctx, q.Names)
		}),
		"hold-skip": web.NewMethod(func(ctx context.Context, q holdsRequest) (int, error) {
			if q.Reason != "" {
				return r.operator().SkipReason(ctx, q.Reason, q.Because)
			}
			return r.operator().Skip(ctx, q.Names, q.Because)
		}),
		"deletions": web.NewMethod(func(ctx context.Context, q deletionsRequest) ([]Deletion, error) {
			return r.operator().Deletions(ctx, q.Accounts)
		}),
		"deletions-apply": web.NewMethod(func(ctx context.Context, q deletionsRequest) (int, error) {
			return r.operator().ApplyDeletions(ctx, q.Accounts, q.Names)
		}),
		"deletions-keep": web.NewMethod(func(ctx context.Context, q deletionsRequest) (int, error) {
			return r.operator().KeepDeleted(ctx, q.Accounts, q.Names)
		}),
		"mailboxes-move": web.NewMethod(func(ctx context.Context, q statesRequest) (int, error) {
			return r.placed(ctx, q.Accounts, r.operator().MoveMailboxes)
		}),
		"mailboxes-keep": web.NewMethod(func(ctx context.Context, q statesRequest) (int, error) {
			return r.placed(ctx, q.Accounts, r.operator().KeepMailboxes)
		}),
		"state-show": web.NewMethod(func(ctx context.Context, q statesRequest) ([]AccountState, error) {
			return r.operator().States(ctx, q.Accounts)
		}),
		"state-check": web.NewMethod(func(ctx context.Context, q statesRequest) ([]StateCheck, error) {
			return r.operator().CheckStates(ctx, q.Accounts)
		}),
		"find": web.NewMethod(func(ctx context.Context, q findRequest) ([]web.Found, error) {
			return r.operator().Find(ctx, q.Account, q.MessageID)
		}),
		"plan": web.NewMethod(func(ctx context.Context, q lookRequest) ([]AccountPreview, error) {
			return r.operator().Preview(ctx, q.Accounts)
		}),
		"verify": web.NewMethod(func(ctx context.Context, q lookRequest) ([]AccountReport, error) {
			return r.operator().Verify(ctx, q.Accounts, q.Mode, q.Sample)
		}),
		"cutover": web.NewMethod(func(ctx context.Context, q cutoverRequest) ([]cutover.Change, error) {
			switch o := r.operator(); q.Word {
			case "switched":
				return o.Switched(ctx, q.Domain)
			case "start":
				return o.Start(ctx, q.Domain, q.Accounts)
			case "abort":
				return o.Abort(ctx, q.Domain, q.Accounts)
			case "finish":
				return o.Finish(ctx, q.Domain)
			case "ack":
				return o.Ack(ctx, q.Domain, q.Host, q.Because)
			}
			return nil, fmt.Errorf("there is no word %q", q.Word)
		}),
		"account-skip": web.NewMethod(func(ctx context.Context, q skipRequest) (struct{}, error) {
			return struct{}{}, r.operator().SkipAccount(ctx, q.Account, q.Because)
		}),
		"account-accept": web.NewMethod(func(ctx context.Context, q statesRequest) (struct{}, error) {
			return struct{}{}, r.operator().AcceptSource(ctx, q.Accounts)
		}),
		"trace": web.NewMethod(func(_ context.Context, q traceRequest) (struct{}, error) {
			return struct{}{}, r.trace(q.Accounts, q.On)
		}),
		"check": web.NewMethod(func(ctx context.Context, q lookRequest) (Preflight, error) {
			return r.operator().Check(ctx, q.Accounts)
		}),
	}
}

// asking is an Operator that asks a running daemon.
type asking struct{ client *web.Client }

// Ask returns the Operator of the daemon at a control socket. Where there is
// none its errors are web.ErrNoDaemon.
func Ask(socket string) Operator { return asking{web.Dial(socket)} }

// Trace has the daemon at a control socket log what is said to the servers of
// some accounts, without contents and passwords, or not any more.
func Trace(ctx context.Context, socket string, accounts []string, on bool) error {
	_, err := call[struct{}](ctx, asking{web.Dial(socket)}, "trace", traceRequest{accounts, on})
	return err
}

func (a asking) Holds(ctx context.Context) ([]AccountHold, error) {
	return call[[]AccountHold](ctx, a, "holds", holdsRequest{})
}

func (a asking) Retry(ctx context.Context, names []string) (int, error) {
	return call[int](ctx, a, "hold-retry", holdsRequest{Names: names})
}

func (a asking) Skip(ctx context.Context, names []string, because string) (int, error) {
	return call[int](ctx, a, "hold-skip", holdsRequest{Names: names, Because: because})
}

func (a asking) SkipReason(ctx context.Context, reason mail.Reason, because string) (int, error) {
	return call[int](ctx, a, "hold-skip", holdsRequest{Reason: reason, Because: because})
}

func (a asking) Deletions(ctx context.Context, accounts []string) ([]Deletion, error) {
	return call[[]Deletion](ctx, a, "deletions", deletionsRequest{Accounts: accounts})
}

func (a asking) ApplyDeletions(ctx context.Context, accounts, names []string) (int, error) {
	return call[int](ctx, a, "deletions-apply", deletionsRequest{accounts, names})
}

func (a asking) KeepDeleted(ctx context.Context, accounts, names []string) (int, error) {
	return call[int](ctx, a, "deletions-keep", deletionsRequest{accounts, names})
}

func (a asking) MoveMailboxes(ctx context.Context, accounts []string) (int, error) {
	return call[int](ctx, a, "mailboxes-move", statesRequest{accounts})
}

func (a asking) KeepMailboxes(ctx context.Context, accounts []string) (int, error) {
	return call[int](ctx, a, "mailboxes-keep", statesRequest{accounts})
}

func (a asking) States(ctx context.Context, accounts []string) ([]AccountState, error) {
	return call[[]AccountState](ctx, a, "state-show", statesRequest{accounts})
}

func (a asking) CheckStates(ctx context.Context, accounts []string) ([]StateCheck, error) {
	return call[[]StateCheck](ctx, a, "state-check", statesRequest{accounts})
}

func (a asking) Switched(ctx context.Context, domain string) ([]cutover.Change, error) {
	return call[[]cutover.Change](ctx, a, "cutover", cutoverRequest{Word: "switched", Domain: domain})
}

func (a asking) Start(ctx context.Context, domain string, accounts []string) ([]cutover.Change, error) {
	return call[[]cutover.Change](ctx, a, "cutover", cutoverRequest{Word: "start", Domain: domain, Accounts: accounts})
}

func (a asking) Abort(ctx context.Context, domain string, accounts []string) ([]cutover.Change, error) {
	return call[[]cutover.Change](ctx, a, "cutover", cutoverRequest{Word: "abort", Domain: domain, Accounts: accounts})
}

func (a asking) Finish(ctx context.Context, domain string) ([]cutover.Change, error) {
	return call[[]cutover.Change](ctx, a, "cutover", cutoverRequest{Word: "finish", Domain: domain})
}

func (a asking) Ack(ctx context.Context, domain, host, because string) ([]cutover.Change, error) {
	return call[[]cutover.Change](ctx, a, "cutover", cutoverRequest{Word: "ack", Domain: domain, Host: host, Because: because})
}

func (a asking) SkipAccount(ctx context.Context, account, because string) error {
	_, err := call[struct{}](ctx, a, "account-skip", skipRequest{account, because})
	return err
}

func (a asking) AcceptSource(ctx context.Context, accounts []string) error {
	_, err := call[struct{}](ctx, a, "account-accept", statesRequest{accounts})
	return err
}

func (a asking) Find(ctx context.Context, account, messageID string) ([]web.Found, error) {
	return call[[]web.Found](ctx, a, "find", findRequest{account, messageID})
}

func (a asking) Preview(ctx context.Context, accounts []string) ([]AccountPreview, error) {
	return call[[]AccountPreview](ctx, a, "plan", lookRequest{Accounts: accounts})
}

func (a asking) Verify(ctx context.Context, accounts []string, mode verify.Mode, sample float64) ([]AccountReport, error) {
	return call[[]AccountReport](ctx, a, "verify", lookRequest{accounts, mode, sample})
}

func (a asking) Check(ctx context.Context, accounts []string) (Preflight, error) {
	return call[Preflight](ctx, a, "check", lookRequest{Accounts: accounts})
}

func (a asking) Pause(ctx context.Context, accounts []string, pause bool) error {
	if pause {
		return a.client.Pause(ctx, accounts, len(accounts) == 0)
	}
	return a.client.Resume(ctx, accounts, len(accounts) == 0)
}

func call[R any](ctx context.Context, a asking, method string, request any) (result R, err error) {
	err = a.client.Call(ctx, method, request, &result)
	return result, err
}
