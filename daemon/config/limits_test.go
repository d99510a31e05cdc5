package config

import (
	"strings"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	c, err := Load(write(t, strings.NewReplacer(
		"[source]\n", "[limits]\nlogins_per_second = 2.5\nbytes_per_second = \"2MB\"\nwindows = [\"Mon-Fri 08:00-18:00 bytes_per_second=500kB messages_per_second=3\"]\n[source]\n",
		"[destination]\n", "[source.limits]\nbytes_per_second = 1000\ndaily_bytes = \"2500MB\"\ndaily_bytes_per_account = \"1GB\"\n[destination]\n",
		"[account.destination]\n", "[account.source.limits]\nmessages_per_second = 0.5\n[account.destination]\n",
	).Replace(good)))
	if err != nil {
		t.Fatal(err)
	}
	s, d := c.SourceLimits, c.DestinationLimits
	if s.LoginsPerSecond != 2.5 || s.BytesPerSecond != 1000 || s.DailyBytes != 2500e6 || s.DailyBytesPerAccount != 1e9 || len(s.Windows) != 1 {
		t.Errorf("source: %+v", s)
	}
	if d.LoginsPerSecond != 2.5 || d.BytesPerSecond != 2e6 || d.DailyBytes != 0 {
		t.Errorf("destination: %+v", d)
	}
	a := c.Accounts[0]
	if a.Destination.Limits != nil || a.Source.Limits == nil || a.Source.Limits.MessagesPerSecond != 0.5 || a.Source.Limits.BytesPerSecond != 0 || a.Source.Limits.LoginsPerSecond != 0 {
		t.Errorf("account: %+v", a.Source.Limits)
	}
}

func TestWindowTimes(t *testing.T) {
	at := func(day, hour, minute int) func() time.Time { // day 1 is a Sunday
		return func() time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC) }
	}
	for text, want := range map[string]struct{ in, out []func() time.Time }{
		"Mon-Fri 08:00-18:00 logins_per_second=1": {
			in:  []func() time.Time{at(2, 8, 0), at(6, 17, 59), at(4, 12, 0)},
			out: []func() time.Time{at(2, 7, 59), at(6, 18, 0), at(1, 12, 0), at(7, 12, 0)}},
		"Fri-Mon 22:00-06:00 logins_per_second=1": {
			in:  []func() time.Time{at(6, 22, 0), at(7, 5, 59), at(3, 5, 59), at(2, 0, 0)},
			out: []func() time.Time{at(6, 5, 0), at(3, 6, 0), at(3, 22, 0), at(7, 12, 0)}},
		"Sat,Wed 00:00-24:00 logins_per_second=1": {in: []func() time.Time{at(7, 0, 0), at(4, 23, 59)}, out: []func() time.Time{at(6, 23, 59), at(5, 0, 0)}},
		"23:30-00:30 logins_per_second=1":         {in: []func() time.Time{at(1, 23, 30), at(2, 0, 29)}, out: []func() time.Time{at(2, 0, 30), at(1, 23, 29)}},
	} {
		w, err := parseWindow(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		l := Limits{LoginsPerSecond: 9, Windows: []Window{w}}
		for rate, times := range map[float64][]func() time.Time{1: want.in, 9: want.out} {
			for _, clock := range times {
				if got := l.At(RateLogins, clock); got != rate {
					t.Errorf("%s, at %s: %v, want %v", text, clock(), got, rate)
				}
			}
		}
		if l.At(RateMessages, want.in[0]) != 0 {
			t.Errorf("%s limits messages", text)
		}
	}
}

func TestLimitProblems(t *testing.T) {
	for table, at := range map[string]string{"limits": "c.toml:2:1: limits.", "source.limits": "c.toml:2:1: source.limits."} {
		for line, want := range map[string]string{
			`logins_per_second = -1`:                                          `logins_per_second: "-1" is no rate; write a number such as 10 or 0.5`,
			`logins_per_second = "many"`:                                      `logins_per_second: "many" is no rate`,
			`messages_per_second = nan`:                                       `messages_per_second: "NaN" is no rate`,
			`bytes_per_second = "2 megabytes"`:                                `bytes_per_second: "2 megabytes" is no number of octets; write for example "2MB"`,
			`daily_bytes = -5`:                                                `daily_bytes: "-5" is no size; write for example`,
			`daily_bytes_per_account = true`:                                  `daily_bytes_per_account: "true" is no size`,
			`windows = ["Mon-Fri"]`:                                           `windows: "Mon-Fri": days, hours and a rate are wanted; write for example "Mon-Fri 08:00-18:00 bytes_per_second=2MB"`,
			`windows = [""]`:                                                  `windows: "": days, hours and a rate are wanted`,
			`windows = ["Mo-Fr 08:00-18:00 bytes_per_second=1"]`:              `"Mo-Fr" are no days of the week; write them as in Mon-Fri or Sat,Sun`,
			`windows = ["Mon 8-18 bytes_per_second=1"]`:                       `"8-18" are no hours`,
			`windows = ["08:00-24:30 bytes_per_second=1"]`:                    `"08:00-24:30" are no hours`,
			`windows = ["08:00-18:00 daily_bytes=1"]`:                         `"daily_bytes" is none of logins_per_second, bytes_per_second and messages_per_second`,
			`windows = ["08:00-18:00 bytes_per_second=fast"]`:                 `bytes_per_second: "fast" is no number of octets`,
			`windows = ["08:00-18:00 bytes_per_second=1 bytes_per_second=2"]`: `bytes_per_second stands there twice`,
		} {
			_, err := Load(write(t, "["+table+"]\n"+line+"\n"+good))
			if err == nil || !strings.Contains(err.Error(), at) || !strings.Contains(err.Error(), want) {
				t.Errorf("[%s] %s: %v\nwant %s…%s", table, line, err, at, want)
			}
		}
	}
	_, err := Load(write(t, strings.Replace(good, "[account.destination]\n", "[account.source.limits]\ndaily_bytes_per_account = 5\n[account.destination]\n", 1)))
	if err == nil || !strings.Contains(err.Error(), "c.toml:12:1: account foo: daily_bytes_per_account is for all accounts, below [source.limits]; write daily_bytes here") {
		t.Error(err)
	}
}
