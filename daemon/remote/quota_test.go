package remote

import "testing"

// TestQuota: of several roots the fullest counts, and what a server cannot tell
// is not known.
func TestQuota(t *testing.T) {
	const told = "* QUOTAROOT INBOX \"User\" \"Domain\"\r\n"
	for _, c := range []struct {
		name, caps, answer string
		want               Quota
	}{
		{"the fullest", "QUOTA", told + "* QUOTA \"User\" (STORAGE 10 100 MESSAGE 9 10)\r\n* QUOTA \"Domain\" (MESSAGE 1 2 storage 80 400)\r\nTAG OK\r\n", Quota{true, 80 << 10, 400 << 10}},
		{"none", "QUOTA", told + "* QUOTA \"User\" ()\r\nTAG OK\r\n", Quota{Known: true}},
		{"nonsense", "QUOTA", "* QUOTA\r\n* QUOTA x y\r\n* QUOTA x (STORAGE -1 NIL STORAGE)\r\nTAG OK\r\n", Quota{Known: true}},
		{"refused", "QUOTA", "TAG NO not today\r\n", Quota{}},
		{"not offered", "", "TAG OK\r\n", Quota{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			d := NewDestination(DestinationOptions{Open: listServer(t, SideDestination, c.caps, &log, [2]string{"GETQUOTAROOT INBOX", c.answer}).dial, Logger: quiet()})
			closing(t, d)
			got, err := d.Quota(t.Context())
			if err != nil || got != c.want {
				t.Errorf("%+v, %v", got, err)
			}
			if c.caps == "" && len(log.all()) > 0 {
				t.Errorf("sent %q", log.all())
			}
		})
	}
}
