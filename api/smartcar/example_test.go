package smartcar_test

import (
	"fmt"

	"github.com/milepost/milepost/api/smartcar"
)

func ExampleKeyring_AnswerChallenge() {
	ring, err := smartcar.NewKeyring("amt")
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := ring.AnswerChallenge("challenge")
	fmt.Println(answer, err)
	_, err = ring.AnswerChallenge(`{"eventType":"VEHICLE_STATE"}`)
	fmt.Println(err)
	// Output:
	// 9baf5a7464bd86740ad5a06e439dcf535a075022ed2c92d74efacf646d79328e <nil>
	// smartcar: challenge refused
}

func ExampleKeyring_Verify() {
	ring, err := smartcar.NewKeyring("amt")
	if err != nil {
		fmt.Println(err)
		return
	}
	const signature = "4c05a8da471f05156ad717baa4017acd13a3a809850b9ca7d3301dcaaa854f70"
	fmt.Println(ring.Verify(signature, []byte(`{"pizza":"pasta"}`)))
	fmt.Println(ring.Verify(signature, []byte(`{"pizza": "pasta"}`)))
	// Output:
	// <nil>
	// smartcar: signature matches no key
}

func ExampleDecode() {
	delivery, err := smartcar.Decode([]byte(`{"eventId":"e-1","eventType":"VEHICLE_STATE","data":{"vehicle":{"id":"v-1"},
		"signals":[{"code":"odometer-traveleddistance","body":{"value":100,"unit":"mi"}}]},"meta":{"version":"4.0"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	event := delivery.Events[0]
	odometer, _ := event.Odometer()
	value, _ := odometer.Number()
	km, assumed, err := smartcar.Kilometres(value, odometer.Unit)
	fmt.Println(delivery.Type, event.ID, event.VehicleID, km, assumed, err)
	// Output: VEHICLE_STATE e-1 v-1 160.934 false <nil>
}
