// The token that the server was started with, asked for once it refuses a request.
import { PageElement } from "./element.js";

export class TokenForm extends PageElement {
  #form = this.child("form", HTMLFormElement);
  #input = this.child("input", HTMLInputElement);

  /** @type {Promise<void> | null} */
  #answer = null;

  /** Until the person has sent a token; asked once for all requests that wait for it. @returns {Promise<void>} */
  ask() {
    this.#answer ??= new Promise(resolve => {
      this.#form.hidden = false;
      this.#input.focus();
      this.#form.onsubmit = event => {
        event.preventDefault();
        sessionStorage.setItem("token", this.#input.value);
        this.#form.hidden = true;
        this.#answer = null;
        resolve();
      };
    });
    return this.#answer;
  }
}

customElements.define("token-form", TokenForm);
