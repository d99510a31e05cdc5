package web

import (
	"fmt"
	"time"
)

// chart is late mail by the hour as a picture: a unit is an hour wide and a
// message high.
type chart struct {
	From, To    time.Time
	Hours, Most int
	Bars        []bar
}

// Told says in words what the picture shows.
func (c *chart) Told() string {
	sum := 0
	for _, b := range c.Bars {
		sum += b.Messages
	}
	if sum == 0 {
		return "none since " + date(c.From)
	}
	last := c.Bars[len(c.Bars)-1]
	return fmt.Sprintf("%s since %s, at most %s in an hour; in the last hour with any, %s, it was %s",
		count(sum), date(c.From), count(c.Most), date(last.Hour), count(last.Messages))
}

// bar is one hour of it.
type bar struct {
	LateHour
	At, Above int
}

const (
	chartLeast = 24      // hours, so that a bar is a bar
	chartMost  = 24 * 14 // hours
)

// newChart draws late mail until now; nil: there is none.
func newChart(hours []LateHour, now time.Time) *chart {
	if len(hours) == 0 {
		return nil
	}
	first, last := hours[0].Hour, hours[len(hours)-1].Hour
	if now = now.UTC().Truncate(time.Hour); now.After(last) {
		last = now
	}
	if earliest := last.Add(-(chartMost - 1) * time.Hour); first.Before(earliest) {
		first = earliest // what matters is whether it becomes less
	}
	c := &chart{From: first, To: last.Add(time.Hour), Hours: max(int(last.Sub(first)/time.Hour)+1, chartLeast), Most: 1}
	for _, h := range hours {
		if !h.Hour.Before(first) {
			c.Bars = append(c.Bars, bar{LateHour: h, At: int(h.Hour.Sub(first) / time.Hour)})
			c.Most = max(c.Most, h.Messages)
		}
	}
	for i := range c.Bars {
		c.Bars[i].Above = c.Most - c.Bars[i].Messages
	}
	return c
}
