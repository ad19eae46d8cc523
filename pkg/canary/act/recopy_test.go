package act_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// copied is a stage of two revisions that share the copy of the Secret; the second is promoted. It returns the names of the copies that
// this one reads.
func copied(t *testing.T) (s *stage, settingsCopy, passwordCopy string) {
	t.Helper()
	s = tracking(newStage(t, canary(), deployment("web:1", reads), settings("1"), password("p")))
	s.must(plan.TakeSnapshot{Revision: s.revision()})
	s.update(settings("2"))
	rev := s.revision()
	s.must(plan.TakeSnapshot{Revision: rev}, plan.ApplyPrimary{Revision: rev, Replicas: 1})
	s.canary.Status.Phase, s.canary.Status.Stable = siskinv1.PhaseInitialized, &siskinv1.RevisionStatus{Revision: rev}
	items := s.world().Revision.Config.Copies()
	s.counter.Writes()
	return s, items[0].Copy, items[1].Copy
}

func (s *stage) remove(obj client.Object, name string) {
	s.t.Helper()
	obj.SetName(name)
	obj.SetNamespace("shop")
	if err := s.api.Delete(s.t.Context(), obj); err != nil {
		s.t.Fatal(err)
	}
	if s.tracker != nil {
		s.tracker.Expire("Secret", "shop", name) // as if it were due
	}
}

// A copy is made again as it was, with all its owners; what is there is left alone.
func TestACopyIsMadeAgainAsItWas(t *testing.T) {
	s, settingsCopy, passwordCopy := copied(t)
	before := s.copies("web")
	s.must()
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("nothing is missing, and %d writes", n)
	}
	s.remove(&corev1.ConfigMap{}, settingsCopy)
	s.remove(&corev1.Secret{}, passwordCopy)
	var expired []string
	s.Expire = func(kind, _, name string) {
		expired = append(expired, kind+" "+name)
		s.tracker.Expire(kind, "shop", name)
	}
	out, err := s.Run(t.Context(), s.world(), nil)
	if err != nil || len(out.Recopied) != 2 || s.counter.Writes() != 2 {
		t.Errorf("error %v, made %v", err, out.Recopied)
	}
	if diff := cmp.Diff(before, s.copies("web")); diff != "" {
		t.Errorf("-was +is\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ConfigMap " + settingsCopy, "Secret " + passwordCopy}, expired); diff != "" {
		t.Errorf("they are looked at again: %s", diff)
	}
	var secret corev1.Secret
	if s.get(passwordCopy, &secret); string(secret.Data["a"]) != "p" || !*secret.Immutable {
		t.Errorf("the copy holds %v", secret.Data)
	}
	s.must()
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d writes more", n)
	}
}

// The name of a copy never gets another content than it had, whatever was observed.
func TestACopyNeverGetsAnotherContent(t *testing.T) {
	s, settingsCopy, _ := copied(t)
	s.remove(&corev1.ConfigMap{}, settingsCopy)
	w := s.world()
	if len(w.Lost) != 1 || !w.Lost[0].Found {
		t.Fatalf("lost %v", w.Lost)
	}
	s.update(settings("3")) // since then
	out, err := s.Run(t.Context(), w, nil)
	if err == nil || !strings.Contains(err.Error(), "copying ConfigMap settings: it has changed meanwhile") || len(out.Recopied) != 0 {
		t.Errorf("error %v, made %v", err, out.Recopied)
	}
	s.must() // now it is known that nothing can be made
	if n := s.counter.Writes(); n != 0 {
		t.Errorf("%d writes", n)
	}
	for name := range s.copies("web") {
		if strings.HasSuffix(name, settingsCopy) {
			t.Errorf("%s is there", name)
		}
	}
}

func TestACopyIsNotMadeAgain(t *testing.T) {
	for name, edit := range map[string]func(*observe.World){
		"suspended": func(w *observe.World) { w.Canary.Spec.Suspend = true },
		"deleted":   func(w *observe.World) { w.Canary.DeletionTimestamp = new(metav1.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			s, settingsCopy, _ := copied(t)
			s.remove(&corev1.ConfigMap{}, settingsCopy)
			w := s.world()
			edit(w)
			if out, err := s.Run(t.Context(), w, nil); err != nil || len(out.Recopied) != 0 || s.counter.Writes() != 0 {
				t.Errorf("error %v, made %v", err, out.Recopied)
			}
		})
	}
	t.Run("the cache was behind", func(t *testing.T) {
		s, settingsCopy, _ := copied(t)
		s.remove(&corev1.ConfigMap{}, settingsCopy)
		w := s.world()
		s.must()
		s.counter.Writes()
		out, err := s.Run(t.Context(), w, nil)
		if n := s.counter.Writes(); err != nil || len(out.Recopied) != 0 || n > 1 { // an attempt
			t.Errorf("error %v, %d writes, made %v", err, n, out.Recopied)
		}
	})
}
