package web_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

var screenshots = flag.String("screenshots", "", "write pictures of the pages into this `folder`")

// patience is for a machine that is very busy; a good run does not come near it.
const patience = time.Minute

// browser is a tab of a real Chromium, in a test.
type browser struct {
	*testing.T
	*tab
}

type tab struct {
	ctx context.Context

	mu         sync.Mutex
	complaints []string // of the page, and of the browser about it
}

// newBrowser starts a Chromium with one tab.
func newBrowser(t *testing.T) browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("IMAPSYNCD_REQUIRE_SERVERS") != "" {
			t.Fatal("there is no chromium, and IMAPSYNCD_REQUIRE_SERVERS is set: install it")
		}
		t.Skip("there is no chromium: install it to test the page")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(patience))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := browser{t, &tab{ctx: ctx}}
	err := chromedp.Listen(ctx, func(event any) { // starts it
		switch event := event.(type) {
		case *runtime.EventExceptionThrown:
			b.complain(event.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			b.complain("console: " + string(event.Type))
		case *log.EventEntryAdded:
			b.complain(string(event.Entry.Level) + ": " + event.Entry.Text + " " + event.Entry.URL)
		}
	})
	if err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	call(b, log.Enable, cdp.Empty{})
	return b
}

func (b *tab) complain(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, text)
}

// silent has whatever the browser complained of fail the test.
func (b browser) silent() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.Error("the browser complains: " + c)
	}
	b.complaints = nil
}

// do runs actions one after the other.
func (b browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// value returns what an action finds.
func value[V any](b browser, action chromedp.Action[V]) V {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// evaluate returns the value of an expression.
func evaluate[V any](b browser, expression string) V {
	b.Helper()
	return value(b, chromedp.Evaluate[V](expression))
}

// call sends a command of the protocol.
func call[P, R any](b browser, command cdp.Command[P, R], params P) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		b.Fatal(err)
	}
}

// scripts allows JavaScript from the next page on, or does not.
func (b browser) scripts(allowed bool) {
	b.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !allowed})
}

// await waits until an expression is true. One that could not be evaluated, because
// another page was just being loaded, is not.
func (b browser) await(what, expression string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if is && err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			b.Fatalf("waited in vain until %s (%v); the page says:\n%s", what, err, evaluate[string](b, "document.body.innerText"))
		}
	}
}

// resize gives the tab a width.
func (b browser) resize(width int64) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, 800))
}

// fits tells whether nothing reaches beyond the right edge, at the widths that the
// page is made for, and whether anything keeps people out of it, and takes pictures
// where they are wanted.
func (b browser) fits(name string) {
	b.Helper()
	for _, width := range []int64{320, 1280} {
		b.resize(width)
		if wide := evaluate[int64](b, "document.documentElement.scrollWidth"); wide > width {
			b.Errorf("%s is %d pixels wide on a screen of %d", name, wide, width)
		}
		if *screenshots == "" {
			continue
		}
		for _, scheme := range []string{"light", "dark"} {
			call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			picture := value(b, chromedp.FullScreenshot(100))
			file := filepath.Join(*screenshots, fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
			if err := os.WriteFile(file, picture, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.open(name)
}

// shown is a status that changes while it is looked at.
type shown struct {
	mu     sync.Mutex
	status web.Status
}

func (s *shown) now() web.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.status
	now.Accounts, now.Domains = slices.Clone(now.Accounts), slices.Clone(now.Domains)
	return now
}

func (s *shown) change(change func(*web.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

// TestBrowser: in a real browser, on a telephone and on a desk, with one account
// and with ten thousand, the pages fit, keep themselves up to date where they stand,
// can be sorted and filtered by keyboard, with JavaScript and without, and the
// browser finds nothing to complain of.
func TestBrowser(t *testing.T) {
	chromium := newBrowser(t)
	for _, accounts := range []int{1, 100, 10000} {
		t.Run(fmt.Sprint(accounts), func(t *testing.T) {
			b := browser{t, chromium.tab}
			s := &shown{status: crowd(accounts)}
			served := httptest.NewServer(handlerOf(web.Options{Status: s.now, Account: details(s.now), Every: 500 * time.Millisecond}))
			defer served.Close()
			defer b.do(chromedp.Navigate("about:blank")) // lets the server end
			last := s.now().Accounts[accounts-1].Name

			b.resize(1280)
			b.scripts(true)
			b.do(chromedp.Navigate(served.URL))
			b.updates(s)
			b.fits(fmt.Sprintf("page-%d", accounts))
			b.chooses(last, "sort=-pending", "sort=pending")
			b.do(chromedp.Navigate(served.URL + "/account/" + last))
			b.updatesAccount(s, last)
			b.fits(fmt.Sprintf("account-%d", accounts))
			b.scripts(false)
			b.do(chromedp.Navigate(served.URL))
			if !evaluate[bool](b, "document.body.innerText.includes('fetched anew every half minute')") {
				t.Error("the page does not say what it does without JavaScript")
			}
			b.chooses(last, "sort=-pending")
			b.fits(fmt.Sprintf("plain-%d", accounts))
			b.silent()
		})
	}
	t.Run("report", func(t *testing.T) { browser{t, chromium.tab}.report() })
	t.Run("refused", func(t *testing.T) { browser{t, chromium.tab}.refused() })
}

// refused is a page whose events are refused, as where too many watch: it is fetched
// anew, and once the daemon has gone it says so. Its clocks go twenty times as fast.
func (b browser) refused() {
	s := &shown{status: crowd(1)}
	pages := handlerOf(web.Options{Status: s.now, Account: details(s.now)})
	var gone atomic.Bool
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() || r.URL.Path == "/events" {
			http.Error(w, "refused", http.StatusServiceUnavailable)
			return
		}
		pages.ServeHTTP(w, r)
	}))
	defer served.Close()
	defer b.do(chromedp.Navigate("about:blank"))
	b.scripts(true)
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `(() => {
		const [timeout, interval, now, began] = [window.setTimeout, window.setInterval, Date.now, Date.now()];
		window.setTimeout = (act, wait) => timeout(act, wait / 20);
		window.setInterval = (act, wait) => interval(act, wait / 20);
		Date.now = () => began + (now() - began) * 20;
	})()`})
	b.do(chromedp.Navigate(served.URL), chromedp.Evaluate[chromedp.Void]("window.sameDocument = true"))
	s.change(func(s *web.Status) { s.Accounts[0].Health = mail.HealthAuth })
	b.await("the page is fetched anew", `window.sameDocument && document.querySelector("#list tbody tr").textContent.includes("auth")`)
	gone.Store(true)
	b.await("that nothing is heard is told", `window.sameDocument && document.getElementById("live").textContent.startsWith("No news")`)
	gone.Store(false)
	b.await("that something is heard again is told", `window.sameDocument && document.getElementById("live").textContent === ""`)
}

// updates changes the status while the page of all accounts is looked at.
func (b browser) updates(s *shown) {
	b.Helper()
	name := evaluate[string](b, `(() => {
		window.sameDocument = true;
		document.querySelector("#domains details summary").click();
		const link = [...document.querySelectorAll("#list tbody th a")].at(-1);
		link.focus();
		window.readOut = new Set();
		const heard = new MutationObserver((changes) => { for (const c of changes) readOut.add((c.target.closest ? c.target : c.target.parentElement).closest("[aria-live], [role=status]").textContent); });
		for (const e of document.querySelectorAll("[aria-live], [role=status]")) heard.observe(e, { subtree: true, childList: true, characterData: true, attributes: true });
		return link.textContent;
	})()`)
	s.change(func(s *web.Status) {
		i := slices.IndexFunc(s.Accounts, func(a web.AccountStatus) bool { return a.Name == name })
		s.Accounts[i].Health, s.Accounts[i].Error = mail.HealthStopped, "the old server is another one"
		s.Now = s.Now.Add(time.Second)
	})
	b.await("the change is told", `document.querySelector("#list tbody tr").textContent.includes("stopped")`)
	if said := evaluate[[]string](b, `[...readOut]`); len(said) > 0 {
		b.Errorf("a change of an account is read out: %q", said)
	}
	s.change(func(s *web.Status) { s.Domains[0].SafeToStop = web.Verdict{OK: true} })
	b.await("the verdict is told", `document.querySelector("#domains .verdict").textContent === "safe to stop: yes"`)
	b.await("nothing else is read out", `[...readOut].join() === "safe to stop: yes"`)
	for what, is := range map[string]string{
		"it was loaded anew":         `window.sameDocument`,
		"the focus is lost":          `document.activeElement === document.querySelector("#list tbody th a")`,
		"what was opened has closed": `document.querySelector("#domains details").open`,
		"it says that it is stale":   `document.getElementById("live").textContent === ""`,
		"its title is old":           `document.title.endsWith("% · imapsyncd")`,
	} {
		if !evaluate[bool](b, is) {
			b.Errorf("when the page has updated itself, %s", what)
		}
	}
}

// updatesAccount does the same for the page of one account.
func (b browser) updatesAccount(s *shown, name string) {
	b.Helper()
	b.do(chromedp.Evaluate[chromedp.Void]("window.sameDocument = true"))
	s.change(func(s *web.Status) {
		i := slices.IndexFunc(s.Accounts, func(a web.AccountStatus) bool { return a.Name == name })
		s.Accounts[i].Messages.Pending = 4321
	})
	b.await("the change of the account is told", `document.getElementById("account").textContent.includes("4,321")`)
	if !evaluate[bool](b, "window.sameDocument === true") {
		b.Error("the page of the account was loaded anew")
	}
}

// chooses sorts, one order after the other, and filters, by keyboard. last is an
// account that the filter is to find.
func (b browser) chooses(last string, orders ...string) {
	b.Helper()
	const pending = `[...document.querySelectorAll("#list thead a")].find((a) => a.textContent === "Pending")`
	for _, order := range orders {
		sorted, compare := "ascending", "<="
		if strings.Contains(order, "=-") {
			sorted, compare = "descending", ">="
		}
		b.do(chromedp.Evaluate[chromedp.Void](pending+".focus()"), chromedp.KeyEvent("\r"))
		b.await("the accounts are sorted by "+order, `document.readyState === "complete" && location.search === "?`+order+`"`)
		if !evaluate[bool](b, pending+`.parentElement.ariaSort === "`+sorted+`" &&
			[...document.querySelectorAll("#list tbody tr:not(.error, .note) td:nth-child(6)")].map((d) => Number(d.textContent.replace(",", ""))).every((n, i, all) => i === 0 || all[i-1] `+compare+` n)`) {
			b.Errorf("%s does not sort", order)
		}
	}
	b.do(chromedp.SendKeys(chromedp.CSS("input[name=q]"), strings.ToUpper(last)+"\r"))
	b.await("the accounts are filtered", `document.readyState === "complete" && location.search.includes("q=USER")`)
	if listed := evaluate[[]string](b, `[...document.querySelectorAll("#list tbody th")].map((h) => h.textContent)`); !slices.Equal(listed, []string{last}) {
		b.Errorf("the filter finds %q", listed)
	}
	if !evaluate[bool](b, `location.search.includes("`+orders[len(orders)-1]+`")`) {
		b.Error("the filter forgets the order")
	}
}
