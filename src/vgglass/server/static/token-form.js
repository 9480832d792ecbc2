// The token that the server was started with, asked for once it refuses a request.
import { PageElement } from "./element.js";

export class TokenForm extends PageElement {
  #form = this.child("form", HTMLFormElement);
  #input = this.child("input", HTMLInputElement);

  /** Until the person has sent a token. @returns {Promise<void>} */
  ask() {
    this.#form.hidden = false;
    this.#input.focus();
    return new Promise(resolve => {
      this.#form.onsubmit = event => {
        event.preventDefault();
        sessionStorage.setItem("token", this.#input.value);
        this.#form.hidden = true;
        resolve();
      };
    });
  }
}

customElements.define("token-form", TokenForm);
