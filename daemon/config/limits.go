package config

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits are what may be asked of one server, or of one account on it. 0 is no
// limit.
type Limits struct {
	LoginsPerSecond   float64
	BytesPerSecond    float64 // octets on the wire, both ways
	MessagesPerSecond float64
	// DailyBytes are octets on the wire, both ways, in any 24 hours,
	// DailyBytesPerAccount the same of each account that has no DailyBytes of its
	// own.
	DailyBytes           int64
	DailyBytesPerAccount int64
	// Windows are times with other rates. Of those that fit, the first that names
	// a rate counts.
	Windows []Window
}

// Rate names a limit that a [Window] may set.
type Rate string

// The rates.
const (
	RateLogins   Rate = "logins_per_second"
	RateBytes    Rate = "bytes_per_second"
	RateMessages Rate = "messages_per_second"
)

// Window is a time of the week with rates of its own.
type Window struct {
	Days     [7]bool // by time.Weekday; of an hour after midnight, the day on which the window began
	From, To int     // minutes since midnight; To not after From: on the next day
	Rates    map[Rate]float64
}

// At returns the rate that is in force by a local clock; 0: no limit.
func (l *Limits) At(rate Rate, clock func() time.Time) float64 {
	for _, w := range l.Windows {
		if n, named := w.Rates[rate]; named && w.has(clock()) {
			return n
		}
	}
	switch rate {
	case RateLogins:
		return l.LoginsPerSecond
	case RateBytes:
		return l.BytesPerSecond
	}
	return l.MessagesPerSecond
}

func (w Window) has(now time.Time) bool {
	minute, day := now.Hour()*60+now.Minute(), now.Weekday()
	if w.From < w.To {
		return w.Days[day] && w.From <= minute && minute < w.To
	}
	return w.Days[day] && minute >= w.From || w.Days[(day+6)%7] && minute < w.To
}

// limits makes Limits of what is inherited and of the keys of a table.
func (l *loader) limits(table string, base Limits, k *rateKeys) Limits {
	if k == nil {
		return base
	}
	at := func(key string) string { return table + "." + key }
	for _, rate := range []struct {
		name  Rate
		value any
		to    *float64
	}{
		{RateLogins, k.LoginsPerSecond, &base.LoginsPerSecond},
		{RateBytes, k.BytesPerSecond, &base.BytesPerSecond},
		{RateMessages, k.MessagesPerSecond, &base.MessagesPerSecond},
	} {
		if rate.value == nil {
			continue
		}
		n, err := rateOf(rate.name, fmt.Sprint(rate.value))
		if err != nil {
			l.complain(at(string(rate.name)), "%s: %v", at(string(rate.name)), err)
		}
		*rate.to = n
	}
	for _, daily := range []struct {
		name  string
		value any
		to    *int64
	}{{"daily_bytes", k.DailyBytes, &base.DailyBytes}, {"daily_bytes_per_account", k.DailyBytesPerAccount, &base.DailyBytesPerAccount}} {
		if daily.value != nil {
			*daily.to = l.size(at(daily.name), fmt.Sprint(daily.value))
		}
	}
	if k.Windows != nil {
		base.Windows = nil
		for _, text := range *k.Windows {
			w, err := parseWindow(text)
			if err != nil {
				l.complain(at("windows"), "%s: %q: %v; write for example \"Mon-Fri 08:00-18:00 bytes_per_second=2MB\"", at("windows"), text, err)
			}
			base.Windows = append(base.Windows, w)
		}
	}
	return base
}

// rateOf reads a rate: for octets a size too, such as "2MB".
func rateOf(rate Rate, text string) (float64, error) {
	if rate == RateBytes {
		n, ok := parseSize(text)
		if !ok {
			return 0, fmt.Errorf("%q is no number of octets; write for example \"2MB\", or 0 for no limit", text)
		}
		return float64(n), nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is no rate; write a number such as 10 or 0.5, or 0 for no limit", text)
	}
	return n, nil
}

var windowTime = regexp.MustCompile(`^([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])$`)

// parseWindow reads "Mon-Fri 08:00-18:00 bytes_per_second=2MB". Without days it
// is for each day; an end that is not after the beginning is on the next day.
func parseWindow(text string) (Window, error) {
	w := Window{Rates: make(map[Rate]float64)}
	fields := strings.Fields(text)
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		if err := w.days(fields[0]); err != nil {
			return w, err
		}
		fields = fields[1:]
	} else {
		w.Days = [7]bool{true, true, true, true, true, true, true}
	}
	if len(fields) < 2 {
		return w, fmt.Errorf("days, hours and a rate are wanted")
	}
	m := windowTime.FindStringSubmatch(fields[0])
	if m == nil || m[3] == "24" && m[4] != "00" {
		return w, fmt.Errorf("%q are no hours", fields[0])
	}
	minutes := func(hours, minutes string) int {
		h, _ := strconv.Atoi(hours)
		m, _ := strconv.Atoi(minutes)
		return h*60 + m
	}
	w.From, w.To = minutes(m[1], m[2]), minutes(m[3], m[4])
	for _, field := range fields[1:] {
		name, value, _ := strings.Cut(field, "=")
		rate := Rate(name)
		if !slices.Contains([]Rate{RateLogins, RateBytes, RateMessages}, rate) {
			return w, fmt.Errorf("%q is none of %s, %s and %s", name, RateLogins, RateBytes, RateMessages)
		}
		if _, twice := w.Rates[rate]; twice {
			return w, fmt.Errorf("%s stands there twice", rate)
		}
		n, err := rateOf(rate, value)
		if err != nil {
			return w, fmt.Errorf("%s: %w", rate, err)
		}
		w.Rates[rate] = n
	}
	return w, nil
}

// days reads "Mon-Fri", "Sat,Sun" and the like.
func (w *Window) days(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		first, last, _ := strings.Cut(part, "-")
		from, to := slices.Index(weekdays, first), slices.Index(weekdays, cmp.Or(last, first))
		if from < 0 || to < 0 {
			return fmt.Errorf("%q are no days of the week; write them as in Mon-Fri or Sat,Sun", part)
		}
		for day := from; ; day = (day + 1) % 7 {
			w.Days[day] = true
			if day == to {
				break
			}
		}
	}
	return nil
}
