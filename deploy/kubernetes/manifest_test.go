// Package kubernetes_test holds the example against the program and its image.
package kubernetes_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

// object is what of an object of Kubernetes is looked at here.
type object struct {
	Kind       string
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		Replicas int
		Template struct {
			Spec struct {
				SecurityContext struct {
					RunAsUser  int `yaml:"runAsUser"`
					RunAsGroup int `yaml:"runAsGroup"`
					FSGroup    int `yaml:"fsGroup"`
				} `yaml:"securityContext"`
				Containers []struct {
					Ports []struct {
						ContainerPort int `yaml:"containerPort"`
					}
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
			}
		}
	}
}

// TestExample: the configuration in it is taken as it is, and user, port and
// volume are those of the image.
func TestExample(t *testing.T) {
	file, err := os.Open("imapsyncd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	kinds := make(map[string]object)
	for decoder := yaml.NewDecoder(file); ; {
		var o object
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		kinds[o.Kind] = o
	}

	dir := t.TempDir()
	for name, text := range kinds["Secret"].StringData {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(filepath.Join(dir, "imapsyncd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Accounts) != 1 {
		t.Errorf("%d accounts", len(c.Accounts))
	}

	text, err := os.ReadFile("../container/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	image := string(text)
	set := kinds["StatefulSet"].Spec
	pod := set.Template.Spec
	if set.Replicas != 1 || len(pod.Containers) != 1 {
		t.Fatalf("%d replicas of %d containers", set.Replicas, len(pod.Containers))
	}
	for _, id := range []int{pod.SecurityContext.RunAsUser, pod.SecurityContext.RunAsGroup, pod.SecurityContext.FSGroup} {
		if id != 65532 || !strings.Contains(image, "\nUSER 65532:65532\n") {
			t.Errorf("user or group %d is not that of the image", id)
		}
	}
	if ports := pod.Containers[0].Ports; len(ports) != 1 || ports[0].ContainerPort != 9143 || !strings.Contains(image, "--web.listen-address=:9143") {
		t.Errorf("ports %v", ports)
	}
	mounts := make(map[string]string)
	for _, m := range pod.Containers[0].VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	if mounts["config"] != "/etc/imapsyncd" || mounts["state"] != c.StateDir || !strings.Contains(image, "\nVOLUME "+c.StateDir+"\n") {
		t.Errorf("mounts %v, state_dir %s", mounts, c.StateDir)
	}
}
