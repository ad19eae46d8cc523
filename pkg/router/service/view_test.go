package service_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

func port(name string, number int32, target any) corev1.ServicePort {
	p := corev1.ServicePort{Name: name, Port: number, Protocol: corev1.ProtocolTCP}
	switch t := target.(type) {
	case string:
		p.TargetPort = intstr.FromString(t)
	case int:
		p.TargetPort = intstr.FromInt32(int32(t))
	}
	return p
}

func view(ports ...corev1.ServicePort) service.View {
	return service.View{Ports: ports, Port: ports[0].Port}
}

func template(ports ...corev1.ContainerPort) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "finch"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{container("app", ports...)}},
	}
}

func TestViewsThatDoNotFit(t *testing.T) {
	old := template(corev1.ContainerPort{Name: "http", ContainerPort: 8080})
	for name, tt := range map[string]struct {
		reason       string
		before, want service.View
		template     corev1.PodTemplateSpec
		misfit       string
	}{
		"the same": {"what serves goes on", view(port("http", 80, 8080)), view(port("http", 80, 8080)), template(), ""},
		"a number for another that is declared": {
			"the pods that listen there are on their way", view(port("http", 80, 8080)), view(port("http", 80, 8081)), old, "port 80 leads to 8081",
		},
		"a number for another that nobody declares": {"nobody can tell", view(port("http", 80, 8080)), view(port("http", 80, 8081)), template(), ""},
		"a number for the name of it":               {"it is the same port", view(port("http", 80, "http")), view(port("http", 80, 8080)), old, ""},
		"a name that no container has":              {"it leads nowhere", view(port("http", 80, 8080)), view(port("http", 80, "web")), old, "port 80 leads to web"},
		"one more port":                             {"nobody was served by it", view(port("http", 80, 8080)), view(port("http", 80, 8080), port("x", 81, 9999)), old, ""},
		"another number of the Service":             {"it leads to the same", view(port("http", 80, 8080)), view(port("http", 81, 8080)), old, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.want.Misfit(tt.before, tt.template); got != tt.misfit {
				t.Errorf("%q, want %q: %s", got, tt.misfit, tt.reason)
			}
		})
	}
}

func TestOneServiceForTwoRevisions(t *testing.T) {
	declares := func(name string, number int32) corev1.PodTemplateSpec {
		return template(corev1.ContainerPort{Name: name, ContainerPort: number})
	}
	h2c := port("http", 80, "http")
	h2c.AppProtocol = new("kubernetes.io/h2c")
	for name, tt := range map[string]struct {
		reason   string
		from, to service.Pods
		want     string // "": there is none
	}{
		"the same": {"", service.Pods{View: view(port("http", 80, 8080))}, service.Pods{View: view(port("http", 80, 8080))}, "http:80->8080/TCP"},
		"another number": {
			"one port cannot lead to two",
			service.Pods{view(port("http", 80, 8080)), declares("http", 8080)},
			service.Pods{view(port("http", 80, 8081)), declares("http", 8081)},
			"",
		},
		"another number by the same name": {
			"each pod has its own",
			service.Pods{view(port("http", 80, "http")), declares("http", 8080)},
			service.Pods{view(port("http", 80, "http")), declares("http", 8081)},
			"http:80->http/TCP",
		},
		"from a name to a number": {
			"the pods of both have the name",
			service.Pods{view(port("http", 80, "http")), declares("http", 8080)},
			service.Pods{view(port("http", 80, 8081)), declares("http", 8081)},
			"http:80->http/TCP",
		},
		"a port that goes and one that comes": {
			"both are served until the end",
			service.Pods{View: view(port("http", 80, 8080), port("admin", 9090, 9090))},
			service.Pods{View: view(port("http", 80, 8080), port("admin", 9091, 9091))},
			"http:80->8080/TCP admin:9091->9091/TCP tcp-9090:9090->9090/TCP",
		},
		"another protocol": {
			"a gateway would speak the new one to old pods",
			service.Pods{view(port("http", 80, "http")), declares("http", 8080)},
			service.Pods{view(h2c), declares("http", 8080)},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := service.Both(tt.from, tt.to)
			if ok != (tt.want != "") {
				t.Fatalf("%t: %s", ok, tt.reason)
			}
			if ok {
				if diff := cmp.Diff(tt.want, show(got.Ports)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestViewsAreKeptWithinBounds(t *testing.T) {
	v := service.View{Ports: []corev1.ServicePort{port("http", 80, "http")}, Port: 80, Was: 81}
	text, err := v.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, ok := service.DecodeView(text)
	if diff := cmp.Diff(v, back); !ok || diff != "" {
		t.Error(diff)
	}
	for i := range int32(5000) {
		v.Ports = append(v.Ports, port(strings.Repeat("x", 10), i+1, "http"))
	}
	_, err = v.Encode()
	wantField(t, err, "spec.service")
	if _, ok := service.DecodeView(""); ok {
		t.Error("nothing is no view")
	}
}

// side is what pods need of which the labels are these.
func side(v service.View, labels ...map[string]string) service.Side {
	return service.Side{View: v, Labels: labels}
}

// The author writes the next revision's selector and ports; the promoted pods go on being served, and the author gets
// it all back.
func TestWhatBelongsToTheNextRevisionIsKept(t *testing.T) {
	v1, v2 := map[string]string{"app": "finch", "v": "1"}, map[string]string{"app": "finch", "v": "2"}
	mine := user("finch", v1)
	mine.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080), NodePort: 30080}}
	w := newWorld(t, mine)
	w.in.PodLabels = v1
	w.in.Main = side(view(port("web", 80, 8080)), v1)
	w.in.Trial = w.in.Main
	w.apply()
	w.selector("finch-primary", role(v1, "primary"))
	w.c.Writes()
	w.edit("finch", func(s *corev1.Service) { s.Spec.Selector, s.Spec.Ports[0].TargetPort = v2, intstr.FromInt32(8081) })
	w.in.Trial, w.in.PodLabels = side(view(port("web", 80, 8081)), v2), v2
	w.apply()
	w.selector("finch-primary", role(v1, "primary"))
	w.selector("finch-canary", role(v2, "canary"))
	w.selector("finch", role(w.in.Selector, "primary"))
	ports := func(name, want string) {
		t.Helper()
		if got := show(w.get(name).Spec.Ports); got != want {
			t.Errorf("%s serves %s instead of %s", name, got, want)
		}
	}
	ports("finch-primary", "web:80->8080/TCP")
	ports("finch-canary", "web:80->8081/TCP")
	ports("finch", "web:80->8080/TCP@30080")
	w.c.Writes()
	if w.apply(); w.c.Writes() != 0 {
		t.Error("it does not settle")
	}
	if got := service.Author(w.get("finch")); show(got.Spec.Ports) != "web:80->8081/TCP@30080" || !cmp.Equal(got.Spec.Selector, v2) {
		t.Errorf("the author wants %s %v", show(got.Spec.Ports), got.Spec.Selector)
	}
	w.in.Main.Labels = append(w.in.Main.Labels, v2) // the primary is about to run it
	w.apply()
	w.selector("finch-primary", role(w.in.Selector, "primary"))
	w.in.Lent = true
	w.apply()
	w.selector("finch-primary", role(v2, "canary"))
	ports("finch-primary", "web:80->8081/TCP")
	ports("finch", "web:80->8081/TCP@30080")
	w.in.Lent, w.in.Main = false, w.in.Trial
	w.apply()
	w.selector("finch", role(v2, "primary"))
	if _, left := w.get("finch").Annotations[siskinv1.LeftAnnotation]; left {
		t.Error("what the author wants is served, and the record is still there")
	}
	w.release()
	w.selector("finch", v2)
	ports("finch", "web:80->8081/TCP@30080")
	if a := w.get("finch").Annotations; len(a) != 1 {
		t.Errorf("annotations: %v", a)
	}
}

// Deleted while the author's wish is not served yet.
func TestTheAuthorsWishIsGivenBack(t *testing.T) {
	mine := user("finch", map[string]string{"app": "finch"})
	w := newWorld(t, mine)
	w.in.Main = side(view(port("web", 80, 80)), w.in.Selector)
	w.in.Trial = w.in.Main
	w.apply()
	w.edit("finch", func(s *corev1.Service) {
		s.Spec.Ports[0].TargetPort = intstr.FromInt32(8081)
		s.Spec.Ports = append(s.Spec.Ports, port("new", 9000, 9000))
	})
	w.apply()
	if got := show(w.get("finch").Spec.Ports); got != "web:80->80/TCP@30080" {
		t.Error(got)
	}
	// A later edit beside it: one port more, and what Siskin left stays.
	w.edit("finch", func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, port("later", 9001, 9001)) })
	w.release()
	if got := show(w.get("finch").Spec.Ports); !strings.Contains(got, "web:80->8081/TCP@30080") || !strings.Contains(got, "new:9000->9000/TCP") ||
		!strings.Contains(got, "later:9001->9001/TCP") {
		t.Error(got)
	}
}

// Deleted while the author's wish belongs to pods of a version that was not promoted: the target has the template of the
// promoted one, and the Service leads to its pods.
func TestAServiceIsGivenBackToThePodsThatThereAre(t *testing.T) {
	v1, v2 := map[string]string{"app": "finch", "v": "1"}, map[string]string{"app": "finch", "v": "2"}
	for name, tt := range map[string]struct {
		reason   string
		listens  int32
		labels   map[string]string
		selector map[string]string
		ports    string
		noted    bool
	}{
		"the promoted template": {"the wish would lead nowhere", 8080, v1, v1, "web:80->8080/TCP@30080", true},
		"the next template":     {"it was promoted meanwhile", 8081, v2, v2, "web:80->8081/TCP@30080", false},
	} {
		t.Run(name, func(t *testing.T) {
			mine := user("finch", v1)
			mine.Spec.Ports[0].TargetPort = intstr.FromInt32(8080)
			w := newWorld(t, mine)
			w.in.PodLabels, w.in.Main = v1, side(view(port("web", 80, 8080)), v1)
			w.in.Trial = w.in.Main
			w.apply()
			w.edit("finch", func(s *corev1.Service) { s.Spec.Selector, s.Spec.Ports[0].TargetPort = v2, intstr.FromInt32(8081) })
			w.in.PodLabels, w.in.Trial = v2, side(view(port("web", 80, 8081)), v2)
			w.apply()
			w.in.PodLabels, w.in.Template = tt.labels, template(corev1.ContainerPort{Name: "http", ContainerPort: tt.listens})
			w.release()
			w.selector("finch", tt.selector)
			got := w.get("finch")
			if show(got.Spec.Ports) != tt.ports {
				t.Errorf("%s: %s", tt.reason, show(got.Spec.Ports))
			}
			if _, noted := got.Annotations[siskinv1.RestoredFromAnnotation]; noted != tt.noted {
				t.Errorf("annotations %v", got.Annotations)
			}
		})
	}
}

// kubectl apply of what is live already writes no field but its own annotation: the author has gone back to it.
func TestAnApplyOfWhatIsLiveIsAWish(t *testing.T) {
	w := newWorld(t, user("finch", map[string]string{"app": "finch"}))
	w.in.Main = side(view(port("web", 80, 80)), w.in.Selector)
	w.in.Trial = w.in.Main
	w.apply()
	w.edit("finch", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(8081) })
	w.apply()
	w.edit("finch", func(s *corev1.Service) {
		s.Annotations[corev1.LastAppliedConfigAnnotation] = `{"spec":{"selector":{"app":"finch"},"ports":[{"name":"web","port":80,"targetPort":80}]}}`
	})
	w.apply()
	if got := show(service.Author(w.get("finch")).Spec.Ports); got != "web:80->80/TCP@30080" {
		t.Error(got)
	}
	if _, left := w.get("finch").Annotations[siskinv1.LeftAnnotation]; left {
		t.Error("it is served, and the record is still there")
	}
}

// The protocol of a port is withheld, and the rest of the port is as its author applied it: that is not the author's word on the protocol.
func TestAProtocolThatIsWithheldStaysAWish(t *testing.T) {
	of := func(protocol string) corev1.ServicePort {
		p := port("web", 80, 80)
		p.AppProtocol = &protocol
		return p
	}
	mine := user("finch", map[string]string{"app": "finch"})
	mine.Spec.Ports = []corev1.ServicePort{of("kubernetes.io/h2c")}
	w := newWorld(t, mine)
	w.in.Main = side(view(of("kubernetes.io/h2c")), w.in.Selector)
	w.in.Trial = w.in.Main
	w.apply()
	w.edit("finch", func(s *corev1.Service) { s.Spec.Ports[0].AppProtocol = new("grpc") })
	for range 3 {
		w.apply()
		if got := *w.get("finch").Spec.Ports[0].AppProtocol; got != "kubernetes.io/h2c" {
			t.Fatalf("%s is served already", got)
		}
		if got := *service.Author(w.get("finch")).Spec.Ports[0].AppProtocol; got != "grpc" {
			t.Fatalf("the author wants %s", got)
		}
	}
	w.in.Main = side(view(of("grpc")), w.in.Selector)
	w.apply()
	if got := *w.get("finch").Spec.Ports[0].AppProtocol; got != "grpc" {
		t.Errorf("%s is served", got)
	}
}

// D5: what the cache hides of an adopted Service is there after the deletion.
func TestWhatTheCacheHidesIsGivenBack(t *testing.T) {
	mine := user("finch", map[string]string{"app": "finch"})
	mine.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}
	w := newWorld(t, mine)
	hiding := &slimClient{Counter: w.c}
	w.applier = service.New(hiding, w.c)
	w.apply()
	w.release()
	if diff := cmp.Diff(map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}, w.get("finch").Annotations); diff != "" {
		t.Error(diff)
	}
}

// A user's Service of the name of the generated apex.
func TestALaterServiceIsAdopted(t *testing.T) {
	w := newWorld(t)
	w.apply()
	w.edit("finch", func(s *corev1.Service) {
		s.Annotations[corev1.LastAppliedConfigAnnotation] = `{"spec":{"type":"LoadBalancer","selector":{"app":"finch"},"ports":[{"name":"web","port":8080}]}}`
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.Ports = append(s.Spec.Ports, port("web", 8080, 8080))
	})
	if by := service.Claimant(w.get("finch")); by != "kubectl apply" {
		t.Errorf("claimed by %q", by)
	}
	res := w.apply()
	if diff := cmp.Diff([]string{"finch"}, res.Adopted); diff != "" {
		t.Error(diff)
	}
	svc := w.get("finch")
	if len(svc.OwnerReferences) != 0 || svc.Labels[siskinv1.CanaryLabel] != "" || svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		t.Errorf("%+v", svc)
	}
	w.selector("finch", role(map[string]string{"app": "finch"}, "primary"))
	w.c.Writes()
	if w.apply(); w.c.Writes() > 1 { // the author's ports become the view
		t.Error("it does not settle")
	}
	if w.apply(); w.c.Writes() != 0 {
		t.Error("it does not settle")
	}
	w.release()
	if got := show(w.get("finch").Spec.Ports); got != "web:8080->8080/TCP" || w.get("finch").Spec.Type != corev1.ServiceTypeLoadBalancer {
		t.Error(got)
	}
}

// Another Service of the user's is for the target's pods as its author writes it, and leads to the same port of those
// that serve.
func TestOtherServicesLeadToThePodsThatServe(t *testing.T) {
	named := func(number int32) service.Listens {
		return service.Listens{"app": {{Name: "http", ContainerPort: number}}, "aside": {{Name: "admin", ContainerPort: 9000}}}
	}
	unnamed := func(number int32) service.Listens { return service.Listens{"app": {{ContainerPort: number}}} }
	listening := func(l service.Listens) corev1.PodTemplateSpec {
		out := template()
		out.Spec.Containers = nil
		for name, ports := range l {
			out.Spec.Containers = append(out.Spec.Containers, container(name, ports...))
		}
		return out
	}
	for name, tt := range map[string]struct {
		reason  string
		live    any // where it leads now
		written any // where its author wants it to
		target  service.Listens
		serving []service.Listens
		want    string
	}{
		"at rest":                   {"it is as written", 8080, 8080, named(8080), []service.Listens{named(8080)}, "8080"},
		"on trial":                  {"the promoted pods listen at their own number", 8080, 8081, named(8081), []service.Listens{named(8080)}, "8080"},
		"on trial, by name":         {"each pod has its own", "http", "http", named(8081), []service.Listens{named(8080)}, "http"},
		"from a number to a name":   {"it fits both", 8080, "http", named(8081), []service.Listens{named(8080)}, "http"},
		"promoted":                  {"what is written fits", 8080, 8081, named(8081), []service.Listens{named(8081)}, "8081"},
		"being promoted":            {"a name leads to both", 8080, 8081, named(8081), []service.Listens{named(8080), named(8081)}, "http"},
		"taken back":                {"the earlier pods serve again", 8081, 8081, named(8081), []service.Listens{named(8080)}, "8080"},
		"before its pods":           {"nobody knows of them yet", 8080, 8081, named(8080), []service.Listens{named(8080)}, "8081"},
		"a port without a name":     {"it is the only one", 8080, 8081, unnamed(8081), []service.Listens{unnamed(8080)}, "8080"},
		"two without a name":        {"one at a time", 8080, 8081, unnamed(8081), []service.Listens{unnamed(8080), unnamed(8081)}, "8080"},
		"another container's":       {"it is the same in both", 9000, 9000, named(8081), []service.Listens{named(8080)}, "9000"},
		"nobody declares any":       {"it is believed", 8080, 8081, service.Listens{}, []service.Listens{{}}, "8081"},
		"a port that is only there": {"nobody serves it yet", 8080, 7000, named(8081), []service.Listens{{}}, "7000"},
	} {
		t.Run(name, func(t *testing.T) {
			other := user("other", map[string]string{"app": "finch"})
			other.Spec.Ports = []corev1.ServicePort{port("web", 80, tt.live)}
			w := newWorld(t, other)
			w.in.Main = side(view(port("http", 80, 8080)), w.in.Selector)
			w.in.Trial = w.in.Main
			w.apply()
			w.edit("other", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = port("web", 80, tt.written).TargetPort })
			w.in.Template, w.in.Main.Listens = listening(tt.target), tt.serving
			w.apply()
			if got := w.get("other").Spec.Ports[0].TargetPort; got.String() != tt.want {
				t.Errorf("it leads to %s, want %s: %s", got.String(), tt.want, tt.reason)
			}
			w.c.Writes()
			if w.apply(); w.c.Writes() != 0 {
				t.Error("it does not settle")
			}
			w.release()
			if got, want := w.get("other").Spec.Ports[0].TargetPort, port("web", 80, tt.written).TargetPort; got != want {
				t.Errorf("it is given back as %s, want %s", got.String(), want.String())
			}
		})
	}
}

// While the canary's pods stand in, other Services lead to where those listen.
func TestOtherServicesFollowWhatStandsIn(t *testing.T) {
	other := user("other", map[string]string{"app": "finch"})
	other.Spec.Ports = []corev1.ServicePort{port("web", 80, 8080)}
	w := newWorld(t, other)
	w.in.Main = side(view(port("http", 80, 8080)), w.in.Selector)
	w.in.Main.Listens = []service.Listens{{"app": {{ContainerPort: 8080}}}}
	w.in.Trial = side(view(port("http", 80, 8081)), w.in.Selector)
	w.in.Trial.Listens = []service.Listens{{"app": {{ContainerPort: 8081}}}}
	w.in.Template = template(corev1.ContainerPort{ContainerPort: 8081})
	w.edit("other", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(8081) })
	w.apply()
	w.in.Lent = true
	w.apply()
	w.selector("other", role(w.in.Selector, "canary"))
	if got := w.get("other").Spec.Ports[0].TargetPort; got != intstr.FromInt32(8081) {
		t.Errorf("it leads to %s", got.String())
	}
}
